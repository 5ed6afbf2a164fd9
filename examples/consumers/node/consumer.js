// Reads the orders topic and prints one JSON line for each new event of an order.
//
//     node consumer.js BROKERS REGISTRY_URL TOPIC GROUP [MAX]
//
// MAX ends it after so many messages; without it, it goes on until it is stopped.

import { Consumer, FetchIsolationLevels, stringDeserializer } from '@platformatic/kafka'

import { EventDecoder, Undecodable } from './decoder.js'

const [brokers, registry, topic, groupId, max = Infinity] = process.argv.slice(2)

// The latest revision of each order. In memory it forgets at a restart: keep the revision where you keep the order, and
// change both in one transaction, as ../erp does.
const handled = new Map()

// Whether this is a later event of its order than any before.
function isNew(event) {
  const order = JSON.stringify([event.store, event.order_id])
  if (event.revision <= (handled.get(order) ?? 0)) return false
  handled.set(order, event.revision)
  return true
}

// What you do with an order. This prints it, without the buyer: that is personal data.
function handle(event, headers) {
  console.log(JSON.stringify({
    store: event.store,
    order_id: event.order_id,
    revision: event.revision,
    // A symbol that you don't know yet counts as UNKNOWN. The header says the same, for those who only route.
    reason: event.reason,
    reason_header: headers.get('imotriz-reason') ?? null,
    total: event.total?.toString() ?? null,
    currency: event.currency,
    created_at: event.created_at?.toISOString() ?? null,
    read_at: event.read_at.toISOString()
  }))
}

// The event in a message; undefined for one that can't be decoded, which is told and counted.
let skipped = 0
async function decoded(message) {
  try {
    return await decoder.decode(message.value)
  } catch (error) {
    if (!(error instanceof Undecodable)) throw error
    skipped += 1
    const place = `${message.topic}[${message.partition}]@${message.offset}`
    console.error(`${place}: skipped (${skipped} so far): ${error.message}`)
  }
}

const decoder = new EventDecoder(registry)
const consumer = new Consumer({
  clientId: 'orders-consumer',
  groupId,
  bootstrapBrokers: brokers.split(','),
  // The value stays bytes: its schema has to be fetched first.
  deserializers: { key: stringDeserializer, headerKey: stringDeserializer, headerValue: stringDeserializer }
})
const stream = await consumer.consume({
  topics: [topic],
  // Goes on where the group has committed, and begins with the oldest event when it has not.
  mode: 'committed',
  fallbackMode: 'earliest',
  // Events of transactions that were given up are not for us.
  isolationLevel: FetchIsolationLevels.READ_COMMITTED,
  // We commit ourselves, once the order is dealt with.
  autocommit: false
})

let left = Number(max)
try {
  for await (const message of stream) {
    const event = await decoded(message)
    if (event !== undefined && isNew(event)) handle(event, message.headers)
    // Only now: whoever is killed before this line gets the event again, and `isNew` drops it if it was done.
    await message.commit()
    if (--left === 0) break
  }
} finally {
  // After an error too: a member that does not leave its group keeps the next one waiting, until it counts as dead.
  await consumer.close(true)
}
