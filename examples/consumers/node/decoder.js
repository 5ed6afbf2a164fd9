// Decodes events by the schema that wrote them, found in the registry by the ID in each event.

import avro from 'avsc'

const MAGIC = 0
const HEADER = 5
const EVENT = 'com.imotriz.orders.v1.OrderEvent'
// What a registry says of an ID that it has not given out.
const SCHEMA_NOT_FOUND = 40403
const EARLIEST = Date.parse('0001-01-01T00:00:00Z')
const LATEST = Date.parse('9999-12-31T23:59:59.999Z')

// A record that can't be decoded, however often it is tried. The message says why, without anything of the record. What
// goes wrong with the registry or the network is another error: to skip records then would be to skip every order.
export class Undecodable extends Error {}

// An exact amount: a whole number of units of 10^-scale. A JavaScript number would round it.
export class Decimal {
  constructor(unscaled, scale) {
    this.unscaled = unscaled
    this.scale = scale
  }

  toString() {
    const sign = this.unscaled < 0n ? '-' : ''
    const digits = String(this.unscaled < 0n ? -this.unscaled : this.unscaled).padStart(this.scale + 1, '0')
    const point = digits.length - this.scale
    return this.scale === 0 ? sign + digits : `${sign}${digits.slice(0, point)}.${digits.slice(point)}`
  }
}

// Avro's decimal: a big-endian two's complement. Without this type avsc hands out the bytes.
class DecimalType extends avro.types.LogicalType {
  constructor(attributes, options) {
    super(attributes, options)
    this.scale = attributes.scale ?? 0
  }

  _fromValue(bytes) {
    const unscaled = bytes.length === 0 ? 0n : BigInt.asIntN(8 * bytes.length, BigInt('0x' + bytes.toString('hex')))
    return new Decimal(unscaled, this.scale)
  }
}

// Milliseconds since 1970 UTC, as a Date. Without this type avsc hands out the number.
class TimestampType extends avro.types.LogicalType {
  _fromValue(millis) {
    if (millis < EARLIEST || millis > LATEST) throw new Undecodable('a time is outside the years 1 to 9999')
    return new Date(millis)
  }
}

const OPTIONS = {
  logicalTypes: { decimal: DecimalType, 'timestamp-millis': TimestampType },
  // A union's value as it is, and not in an object that names its type.
  wrapUnions: false
}

export class EventDecoder {
  #registry
  #types = new Map()

  constructor(registry) {
    this.#registry = registry
  }

  async decode(message) {
    if (message == null) throw new Undecodable('it has no value')
    if (message.length < HEADER || message[0] !== MAGIC) {
      throw new Undecodable('it does not begin with the ID of a schema')
    }
    const type = await this.#type(message.readUInt32BE(1))
    if (type.name !== EVENT) throw new Undecodable('it is not an event of an order')
    try {
      return type.fromBuffer(message.subarray(HEADER))
    } catch (error) {
      // Not the error itself: it can quote the record, which is personal data.
      throw error instanceof Undecodable ? error : new Undecodable('it is not what its schema says')
    }
  }

  async #type(id) {
    let type = this.#types.get(id)
    if (type === undefined) {
      const response = await fetch(`${this.#registry}/schemas/ids/${id}`, { signal: AbortSignal.timeout(10_000) })
      if (response.status === 404 && (await response.json()).error_code === SCHEMA_NOT_FOUND) {
        throw new Undecodable('the registry does not know its schema')
      }
      if (!response.ok) throw new Error(`the registry answers ${response.status} for the schema ${id}`)
      const { schema } = await response.json()
      // A copy, for avsc keeps the names that it has seen in there, and the next version has the same ones.
      type = avro.Type.forSchema(JSON.parse(schema), { ...OPTIONS })
      this.#types.set(id, type)
    }
    return type
  }
}
