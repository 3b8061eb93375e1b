/**
 * How to reach a Kafka cluster, under the names of Kafka's own clients (`properties.*`), so that files written for Flink
 * or for the Java client keep working. The source and the sink share them.
 */
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { TidemarkError } from '../core/errors.js'
import type { KafkaOptions } from './kafka-connection.js'

const CONNECT_TIMEOUT_MS = 10_000
const REQUEST_TIMEOUT_MS_DEFAULT = 30_000
const DELIVERY_TIMEOUT_MS_DEFAULT = 120_000

const text = (about: string) => z.string().min(1).optional().describe(about)
const milliseconds = (fallback: number, about: string) =>
  z.number().int().min(100).max(3_600_000).default(fallback).describe(about)

export const connectionOptions = {
  'properties.bootstrap.servers': z
    .string()
    .min(1)
    .describe('Brokers to start from: `host:9092,other:9092`.')
    .superRefine((value, context) => {
      const wrong = value.split(',').find((part) => parseBroker(part) === null)
      if (wrong !== undefined) context.addIssue({ code: 'custom', message: `"${wrong.trim()}" is not host:port` })
    }),
  'properties.security.protocol': z
    .enum(['PLAINTEXT', 'SSL', 'SASL_PLAINTEXT', 'SASL_SSL'])
    .default('PLAINTEXT')
    .describe('Whether connections use TLS and SASL.'),
  'properties.sasl.mechanism': z
    .enum(['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512', 'OAUTHBEARER'])
    .optional()
    .describe('Needed with SASL.'),
  'properties.sasl.jaas.config': text('The login of a Java client: `... required username="u" password="p";`.'),
  username: text('SASL user, instead of `properties.sasl.jaas.config`.'),
  password: z.string().optional().describe('SASL password.'),
  'oauth.token': text('Token for OAUTHBEARER; `oauth.token.file` is read anew for each connection.'),
  'oauth.token.file': text('A file that holds the token for OAUTHBEARER.'),
  'properties.ssl.truststore.type': z.enum(['PEM']).optional().describe('Only PEM can be read.'),
  'properties.ssl.truststore.location': text('PEM file with the authorities to trust. Default: those of Node.'),
  'properties.ssl.truststore.certificates': text('The same as text.'),
  'properties.ssl.keystore.type': z.enum(['PEM']).optional().describe('Only PEM can be read.'),
  'properties.ssl.keystore.location': text('PEM file with our certificate chain and its key.'),
  'properties.ssl.keystore.certificate.chain': text('The certificate chain as text.'),
  'properties.ssl.keystore.key': text('The key as text.'),
  'properties.ssl.key.password': text('Passphrase of the key.'),
  'properties.ssl.endpoint.identification.algorithm': z
    .enum(['https', ''])
    .default('https')
    .describe('Empty: any name in the certificate is accepted.'),
  'tls.server.name': text("The name that the brokers' certificates carry, when it is not the host connected to."),
  'properties.client.id': text('Default: tidemark-PIPELINE.'),
  'properties.client.rack': text('Where this process runs, for reading from the nearest replica.'),
  'properties.request.timeout.ms': milliseconds(REQUEST_TIMEOUT_MS_DEFAULT, 'How long one request may take.'),
  'properties.delivery.timeout.ms': milliseconds(
    DELIVERY_TIMEOUT_MS_DEFAULT,
    'How long a request is repeated while brokers are busy or unreachable, before the pipeline goes back to its checkpoint.',
  ),
  'properties.acks': z
    .enum(['all', '-1'])
    .optional()
    .describe('Always all: a message is written when every in-sync replica has it.'),
}

const shape = z.strictObject(connectionOptions)
export type ConnectionOptions = z.output<typeof shape>
type Block = 'source' | 'sink'

/** `host:port`, with or without the listener that Java's clients accept in front; null when it is neither. */
export function parseBroker(value: string): string | null {
  const match = /^(?:[A-Za-z_]+:\/\/)?((?:\[[0-9a-fA-F:]+\]|[^\s:/,[\]]+):(\d{1,5}))$/.exec(value.trim())
  return match && Number(match[2]) <= 65_535 ? match[1]! : null
}

/** `at`: the block whose options these are. */
export function kafkaOptions(options: ConnectionOptions, pipeline: string, at: Block): KafkaOptions {
  const protocol = options['properties.security.protocol']
  const rack = options['properties.client.rack']
  return {
    brokers: options['properties.bootstrap.servers'].split(',').map((part) => parseBroker(part)!),
    clientId: options['properties.client.id'] ?? `tidemark-${pipeline}`,
    ...(rack === undefined ? {} : { rack }),
    tls: protocol === 'SSL' || protocol === 'SASL_SSL' ? tls(options, at) : false,
    ...(protocol.startsWith('SASL') ? { sasl: sasl(options, at) } : {}),
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    requestTimeoutMs: options['properties.request.timeout.ms'],
    retryMs: options['properties.delivery.timeout.ms'],
  }
}

/** Options that were given beside others that leave them without effect, with the reason. */
export function connectionWithoutEffect(
  options: ConnectionOptions,
  given: Readonly<Record<string, unknown>>,
): [option: string, why: string][] {
  const protocol = options['properties.security.protocol']
  const mechanism = options['properties.sasl.mechanism']
  const why = (option: string): string | null => {
    if (isLogin(option)) {
      const isToken = option.startsWith('oauth.')
      if (!protocol.startsWith('SASL_')) return `properties.security.protocol is ${protocol}: nobody logs in`
      if (mechanism === undefined || option === 'properties.sasl.mechanism') return null
      if (isToken !== (mechanism === 'OAUTHBEARER')) return `properties.sasl.mechanism is ${mechanism}`
      const twice = option === 'properties.sasl.jaas.config' && hasLogin(options)
      return twice ? '`username` and `password` come first' : null
    }
    const isTls = option.startsWith('properties.ssl.') || option === 'tls.server.name'
    return isTls && !protocol.endsWith('SSL') ? `properties.security.protocol is ${protocol}: nothing uses TLS` : null
  }
  return Object.keys(given).flatMap((option): [string, string][] => {
    const found = why(option)
    return found === null ? [] : [[option, found]]
  })
}

function isLogin(option: string): boolean {
  return option === 'username' || option === 'password' || option.startsWith('oauth.') || option.includes('.sasl.')
}

function hasLogin({ username, password }: ConnectionOptions): boolean {
  return username !== undefined && password !== undefined
}

function tls(options: ConnectionOptions, at: Block): Exclude<KafkaOptions['tls'], false | undefined> {
  const ca = pem(options, 'properties.ssl.truststore.certificates', 'properties.ssl.truststore.location', at)
  const store = pem(options, 'properties.ssl.keystore.certificate.chain', 'properties.ssl.keystore.location', at)
  // A PEM store has certificate and key in one file.
  const key = options['properties.ssl.keystore.key'] ?? store
  const passphrase = options['properties.ssl.key.password']
  const serverName = options['tls.server.name']
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(store === undefined ? {} : { cert: store }),
    ...(store === undefined || key === undefined ? {} : { key }),
    ...(passphrase === undefined ? {} : { passphrase }),
    ...(serverName === undefined ? {} : { serverName }),
    rejectUnauthorized: true,
    verifyName: options['properties.ssl.endpoint.identification.algorithm'] === 'https',
  }
}

type TextOption = 'properties.ssl.truststore.certificates' | 'properties.ssl.keystore.certificate.chain'
type FileOption = 'properties.ssl.truststore.location' | 'properties.ssl.keystore.location'

function pem(options: ConnectionOptions, inline: TextOption, file: FileOption, at: Block): string | undefined {
  const path = options[file]
  if (options[inline] !== undefined || path === undefined) return options[inline]
  let bytes: Buffer
  try {
    bytes = readFileSync(path)
  } catch (cause) {
    throw new TidemarkError('kafka.tls_options', {
      message: `${path} cannot be read (${(cause as NodeJS.ErrnoException).code})`,
      fix: 'Check the path and its permissions.',
      at: `${at}.${file}`,
      cause,
    })
  }
  if (bytes.includes('-----BEGIN ')) return bytes.toString('utf8')
  throw new TidemarkError('kafka.tls_options', {
    message: `${path} holds no PEM text; Java key stores cannot be read`,
    fix: `Convert it: keytool -importkeystore -srckeystore ${path} -destkeystore store.p12 -deststoretype PKCS12 && openssl pkcs12 -in store.p12 -nodes -out store.pem`,
    at: `${at}.${file}`,
  })
}

type Sasl = NonNullable<KafkaOptions['sasl']>

function sasl(options: ConnectionOptions, at: Block): Sasl {
  const mechanism = options['properties.sasl.mechanism']
  if (mechanism === undefined) {
    throw new TidemarkError('kafka.auth', {
      message: `${options['properties.security.protocol']} needs a SASL mechanism`,
      fix: 'Give properties.sasl.mechanism: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER.',
      at: `${at}.properties.sasl.mechanism`,
    })
  }
  if (mechanism === 'OAUTHBEARER') return { mechanism: 'oauthbearer', token: tokenOf(options, at) }
  return {
    mechanism: mechanism.toLowerCase() as 'plain' | 'scram-sha-256' | 'scram-sha-512',
    ...loginOf(options, mechanism, at),
  }
}

function loginOf(options: ConnectionOptions, mechanism: string, at: Block): { username: string; password: string } {
  const { username, password } = options
  if (username !== undefined && password !== undefined) return { username, password }
  const jaas = options['properties.sasl.jaas.config']
  const user = jaasValue(jaas, 'username')
  const pass = jaasValue(jaas, 'password')
  if (user !== null && pass !== null) return { username: user, password: pass }
  throw noLogin(options, mechanism, { user, pass }, at)
}

/** Names the option that is wrong, and nothing of what it holds. */
function noLogin(
  { username, password, 'properties.sasl.jaas.config': jaas }: ConnectionOptions,
  mechanism: string,
  found: { readonly user: string | null; readonly pass: string | null },
  at: Block,
): TidemarkError {
  if (jaas !== undefined) {
    const lacking = [found.user === null ? 'username=' : '', found.pass === null ? 'password=' : '']
    return new TidemarkError('kafka.auth', {
      message: `properties.sasl.jaas.config has no ${lacking.filter((word) => word !== '').join(' and no ')}`,
      fix: 'Write: org.apache.kafka.common.security.plain.PlainLoginModule required username="USER" password="PASSWORD"; (Scram: ...security.scram.ScramLoginModule), or give `username` and `password` instead.',
      at: `${at}.properties.sasl.jaas.config`,
    })
  }
  const lacking = username === undefined ? 'username' : 'password'
  const half = username === undefined && password === undefined
  return new TidemarkError('kafka.auth', {
    message: half ? `SASL ${mechanism} needs a user and a password` : `SASL ${mechanism} needs \`${lacking}\` as well`,
    fix: 'Give `username` and `password`, or properties.sasl.jaas.config.',
    at: `${at}.${half ? 'properties.sasl.mechanism' : lacking === 'password' ? 'username' : 'password'}`,
  })
}

/** A value of `key="value"`, `key='value'` or `key=value`; null: there is none. */
function jaasValue(jaas: string | undefined, key: 'username' | 'password'): string | null {
  const form = new RegExp(`\\b${key}\\s*=\\s*(?:"((?:\\\\.|[^"\\\\])*)"|'([^']*)'|([^\\s;"']+))`)
  const match = form.exec(jaas ?? '')
  return match === null ? null : jaasText(match)
}

function jaasText(match: RegExpExecArray): string {
  return match[1] === undefined ? (match[2] ?? match[3] ?? '') : match[1].replace(/\\(.)/g, '$1')
}

function tokenOf(options: ConnectionOptions, at: Block): () => Promise<string> {
  const { 'oauth.token': token, 'oauth.token.file': file } = options
  if (token === undefined && file === undefined) {
    throw new TidemarkError('kafka.auth', {
      message: 'OAUTHBEARER needs a token',
      fix: 'Give oauth.token or oauth.token.file.',
      at: `${at}.oauth.token.file`,
    })
  }
  return async () => token ?? readFileSync(file!, 'utf8').trim()
}
