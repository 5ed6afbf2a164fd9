// Decodes events by the schema that wrote them, found in the registry by the ID in each event.

import avro from 'avsc'

const MAGIC = 0
const HEADER = 5

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
    if (message.length < HEADER || message[0] !== MAGIC) {
      throw new Error('the message does not begin with the ID of a schema')
    }
    const type = await this.#type(message.readUInt32BE(1))
    return type.fromBuffer(message.subarray(HEADER))
  }

  async #type(id) {
    let type = this.#types.get(id)
    if (type === undefined) {
      const response = await fetch(`${this.#registry}/schemas/ids/${id}`, { signal: AbortSignal.timeout(10_000) })
      if (!response.ok) throw new Error(`the registry answers ${response.status} for the schema ${id}`)
      const { schema } = await response.json()
      // A copy, for avsc keeps the names that it has seen in there, and the next version has the same ones.
      type = avro.Type.forSchema(JSON.parse(schema), { ...OPTIONS })
      this.#types.set(id, type)
    }
    return type
  }
}
