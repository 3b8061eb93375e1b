/**
 * What Kafka's error codes mean to us, and the errors that users see. Classified by code, never by message text: kafkajs
 * passes on node's codes, and its own errors have names.
 */
import type { ErrorCode } from '../core/error-codes.js'
import { TidemarkError, toError } from '../core/errors.js'

/** The codes of the protocol that decide something here. */
export const KafkaCode = {
  none: 0,
  offsetOutOfRange: 1,
  corruptMessage: 2,
  unknownTopicOrPartition: 3,
  leaderNotAvailable: 5,
  notLeaderOrFollower: 6,
  requestTimedOut: 7,
  replicaNotAvailable: 9,
  messageTooLarge: 10,
  networkException: 13,
  coordinatorLoadInProgress: 14,
  coordinatorNotAvailable: 15,
  notCoordinator: 16,
  invalidTopic: 17,
  recordListTooLarge: 18,
  notEnoughReplicas: 19,
  invalidTimestamp: 32,
  notEnoughReplicasAfterAppend: 20,
  topicAuthorizationFailed: 29,
  clusterAuthorizationFailed: 31,
  unsupportedVersion: 35,
  topicAlreadyExists: 36,
  invalidPartitions: 37,
  invalidReplicationFactor: 38,
  invalidConfig: 40,
  notController: 41,
  policyViolation: 44,
  unsupportedForMessageFormat: 43,
  outOfOrderSequence: 45,
  invalidProducerEpoch: 47,
  invalidTxnState: 48,
  invalidProducerIdMapping: 49,
  invalidTransactionTimeout: 50,
  concurrentTransactions: 51,
  transactionalIdAuthorizationFailed: 53,
  operationNotAttempted: 55,
  storageError: 56,
  unknownProducerId: 59,
  fencedLeaderEpoch: 74,
  unknownLeaderEpoch: 75,
  unsupportedCompressionType: 76,
  invalidRecord: 87,
  producerFenced: 90,
  throttlingQuotaExceeded: 89,
  unknownTopicId: 100,
} as const

const NAMES: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(KafkaCode).map(([name, code]) => [
    code,
    name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase(),
  ]),
)

/** As the protocol's documentation names it. */
export function codeName(code: number): string {
  return NAMES[code] ? `${NAMES[code]} (${code})` : `error ${code}`
}

const of = (...names: (keyof typeof KafkaCode)[]): ReadonlySet<number> => new Set(names.map((name) => KafkaCode[name]))

/** The coordinator is elsewhere, starting, or writes the markers of the last transaction: the same request again. */
export const COORDINATOR_BUSY = of(
  'concurrentTransactions',
  'coordinatorLoadInProgress',
  'coordinatorNotAvailable',
  'notCoordinator',
  'requestTimedOut',
  'networkException',
)

/** The leader is elsewhere, or replicas are missing: the same bytes again. */
export const LEADER_BUSY = of(
  'unknownTopicOrPartition',
  'leaderNotAvailable',
  'notLeaderOrFollower',
  'requestTimedOut',
  'replicaNotAvailable',
  'networkException',
  'notEnoughReplicas',
  'notEnoughReplicasAfterAppend',
  'storageError',
  'fencedLeaderEpoch',
  'unknownLeaderEpoch',
  'unknownTopicId',
  'corruptMessage',
)

/** Another owner fenced us, or the coordinator timed our transaction out. reinitialise() tells the two apart. */
export const EPOCH_REFUSED = of('invalidProducerEpoch', 'producerFenced', 'invalidProducerIdMapping')

/** The same records are refused whatever is repeated. Too large ones are not among them: the next start reads the limit anew. */
export const REFUSED_FOR_EVER = of(
  'invalidRecord',
  'invalidTimestamp',
  'invalidTopic',
  'policyViolation',
  'unsupportedCompressionType',
  'unsupportedForMessageFormat',
)

export const NOT_PERMITTED = of(
  'topicAuthorizationFailed',
  'clusterAuthorizationFailed',
  'transactionalIdAuthorizationFailed',
)

/** A connection that was lost, a broker that did not answer: whether the request was carried out is unknown. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost'
}

/** Records that the topic takes by no means. */
export class RecordsRefused extends TidemarkError {
  constructor(
    readonly topic: string,
    message: string,
    /** The likely reason is that a compacted topic got a message without a key. */
    readonly keyless: boolean,
  ) {
    super('kafka.record_refused', { message })
  }
}

export class TokenRefused extends Error {
  override readonly name = 'TokenRefused'
}

export function isConnectionLost(thrown: unknown): boolean {
  return thrown instanceof ConnectionLost
}

/** Names and codes of an error and of what caused it. kafkajs passes node's codes on. */
function marksOf(thrown: unknown): string[] {
  const marks: string[] = []
  for (let error = thrown as Thrown | undefined; error instanceof Error; error = error.cause as Thrown | undefined) {
    marks.push(error.name, String(error.code ?? ''))
  }
  return marks
}

interface Thrown extends Error {
  readonly code?: unknown
}

const TLS_CODE = /^(ERR_(SSL|TLS|OSSL)|CERT_|EPROTO$|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_)/

const SASL_ERROR =
  /^(TokenRefused|KafkaJS(SASLAuthentication|Protocol|NonRetriable|NotImplemented)Error|KafkaJSNotImplemented)$/

/** Why no connection came about. */
export function connectFailed(thrown: unknown, broker: string, mechanism: string | null): TidemarkError {
  if (thrown instanceof TidemarkError) return thrown
  const error = toError(thrown)
  const marks = marksOf(thrown)
  const words = error.message.replace(`${broker}: `, '').replace(/^Connection error: /, '')
  const fail = (kind: ErrorCode, fix: string, retriable = false) =>
    new TidemarkError(kind, { message: `${broker}: ${words}`, fix, retriable, cause: error })
  if (marks.some((mark) => TLS_CODE.test(mark))) {
    return fail(
      'kafka.tls',
      'Check the authority, certificate, key and server name, and that this listener of the broker speaks TLS.',
    )
  }
  if (marks.some((mark) => SASL_ERROR.test(mark))) {
    return fail(
      'kafka.auth',
      `Check the ${mechanism} user and its password or token, and that the broker's listener offers ${mechanism}.`,
    )
  }
  return fail('kafka.connection', 'Check the bootstrap servers, and that security.protocol fits their listener.', true)
}

/** The broker said what it is, and closed the connection at the first question: so does a listener that wants a login first. */
export function hungUp(error: Error, { sasl }: { readonly sasl?: unknown }): TidemarkError {
  const likely =
    sasl === undefined
      ? 'Most likely this listener wants a login: set properties.security.protocol to SASL_PLAINTEXT or SASL_SSL, properties.sasl.mechanism, username and password.'
      : 'Most likely this listener has another properties.security.protocol or properties.sasl.mechanism.'
  return new TidemarkError('kafka.connection', {
    message: error.message,
    fix: `${likely} Otherwise the broker is starting or stopping: its log says why it closed the connection.`,
    retriable: true,
    cause: error,
  })
}

/** Options of a topic that is made, by the code that refuses them. */
const CREATION_OPTIONS: Readonly<Record<number, string>> = {
  [KafkaCode.invalidPartitions]: 'default.partitions',
  [KafkaCode.invalidReplicationFactor]: 'default.replication.factor',
  [KafkaCode.invalidConfig]: 'config',
  [KafkaCode.policyViolation]: 'config',
}

/** A topic that could not be made. Only sinks make topics. */
export function creationRefused(code: number, topic: string, said: string | null): TidemarkError {
  const error = refused(code, 'creating', `topic ${topic}`, said)
  const option = CREATION_OPTIONS[code]
  if (option === undefined) return error
  return new TidemarkError('kafka.refused', {
    message: error.message,
    fix: `Correct topic.creation.${option}, or make topic ${topic} yourself.`,
    at: `sink.topic.creation.${option}`,
  })
}

/** An answer with an error code that no repetition heals. `who`: the topic, partition or transactional id. */
export function refused(code: number, what: string, who: string, said: string | null = null): TidemarkError {
  const words = said ? `: ${said}` : ''
  if (NOT_PERMITTED.has(code)) return notPermitted(code, what, who)
  if (code === KafkaCode.unknownTopicOrPartition) {
    return new TidemarkError('kafka.topic_missing', {
      message: `${what}: ${who} does not exist`,
      fix: 'Create the topic, or let the pipeline create topics.',
    })
  }
  return new TidemarkError('kafka.refused', { message: `${what} for ${who}: Kafka answered ${codeName(code)}${words}` })
}

function notPermitted(code: number, what: string, who: string): TidemarkError {
  const needed =
    code === KafkaCode.transactionalIdAuthorizationFailed
      ? 'operations Write and Describe on the transactional id'
      : code === KafkaCode.topicAuthorizationFailed
        ? 'what it lacks of the topic: Describe to see it, Write to write it, Read for checkpoints and sources, Create to make it, DescribeConfigs for its settings'
        : 'what this operation asks of the cluster'
  return new TidemarkError('kafka.permission', {
    message: `${what} for ${who}: Kafka answered ${codeName(code)}`,
    fix: `Add an ACL that gives the user ${needed}.`,
  })
}

/** Busy, or not reached, for longer than the time that was given. */
export function gaveUp(what: string, afterMs: number, last: unknown): TidemarkError {
  if (last === KafkaCode.unknownTopicOrPartition) return refused(last, what, 'the topic')
  const why = typeof last === 'number' ? `Kafka answers ${codeName(last)}` : toError(last).message
  return new TidemarkError('kafka.unavailable', {
    message: `${what} did not succeed for ${afterMs} ms: ${why}`,
    fix: 'Check that the brokers are up and the partitions have leaders.',
    retriable: true,
    cause: typeof last === 'number' ? undefined : last,
  })
}
