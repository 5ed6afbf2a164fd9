// Validates an AsyncAPI document with AsyncAPI's own parser, and headers of messages with the document; prints the
// document as JSON, with what it refers to in it.
//
//     node check.js DOCUMENT MESSAGES
//
// MESSAGES is a file with a list of {"message": its name in the document, "headers": {…}}.

import { readFileSync } from 'node:fs'

import { AvroSchemaParser } from '@asyncapi/avro-schema-parser'
import { Parser, fromFile } from '@asyncapi/parser'
import Ajv from 'ajv'
import addFormats from 'ajv-formats'

const [documentFile, messagesFile] = process.argv.slice(2)
const WARNING = 1

function fail(faults) {
  for (const fault of faults) console.error(fault)
  if (faults.length > 0) process.exit(1)
}

const parser = new Parser()
parser.registerSchemaParser(AvroSchemaParser())
const { document, diagnostics } = await fromFile(parser, documentFile).parse()
const grave = diagnostics.filter(({ severity }) => severity <= WARNING)
fail(grave.map(({ code, message, path }) => `${path.join('/')}: ${message} (${code})`))
const json = document.json()

const ajv = addFormats(new Ajv({ strict: false, allErrors: true }))
const validators = Object.entries(json.components.messages).filter(([, { headers }]) => headers).map(
  ([name, { headers }]) => [name, ajv.compile({ ...headers, additionalProperties: false })]
)
const byName = new Map(validators)
for (const { message, headers } of JSON.parse(readFileSync(messagesFile, 'utf8'))) {
  const validate = byName.get(message)
  validate(headers)
  fail((validate.errors ?? []).map((error) => `${message}: ${error.instancePath} ${error.message} ${JSON.stringify(error.params)}`))
}
console.log(JSON.stringify(json))
