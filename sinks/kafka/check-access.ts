/** Which operations the user lacks, one finding for each resource, with the command that gives them. */
import type { Finding } from '../../core/define.js'
import {
  type KafkaCluster,
  mayCreateTopic,
  mayUseTransactionalId,
  type NewTopic,
  type TopicAccess,
  type TopicOperation,
  topicAccess,
} from '../../drivers/kafka.js'

export interface NeededTopic {
  readonly name: string
  /** What the pipeline does with it, e.g. "the checkpoint topic". */
  readonly role: string
  readonly operations: readonly TopicOperation[]
  /** How it would be made; null: nobody would. */
  readonly made: NewTopic | null
}

export interface Access {
  readonly findings: readonly Finding[]
  /** Topics of which this user may see nothing. */
  readonly hidden: ReadonlySet<string>
}

interface Asking {
  readonly user: string | null
  readonly signal: AbortSignal
}

export async function checkTopicAccess(
  cluster: KafkaCluster,
  needed: readonly NeededTopic[],
  { user, signal }: Asking,
): Promise<Access> {
  const found = await topicAccess(cluster, [...new Set(needed.map(({ name }) => name))], { signal })
  const findings: Finding[] = []
  const hidden = new Set<string>()
  for (const topic of needed) {
    const access = found.get(topic.name) ?? null
    if (access === null) hidden.add(topic.name)
    findings.push(...operationFindings(topic, access, user))
    if (access !== null && !access.exists && topic.made !== null) {
      findings.push(...creationFindings(topic, await mayCreateTopic(cluster, topic.name, topic.made, { signal }), user))
    }
  }
  return { findings, hidden }
}

function operationFindings(
  { name, role, operations }: NeededTopic,
  access: TopicAccess | null,
  user: string | null,
): Finding[] {
  const may = access === null ? new Set<TopicOperation>() : access.may
  if (may === null) return []
  const lacking = operations.filter((operation) => !may.has(operation))
  const findings: Finding[] = []
  if (lacking.length > 0) findings.push(lacks(user, lacking, `${role} ${name}`, ['--topic', name]))
  if (access !== null && !may.has('DescribeConfigs')) {
    const message = `${who(user)} may not read the settings of ${role} ${name} (DescribeConfigs): the brokers' defaults are assumed`
    findings.push({ level: 'info', subject: name, message })
  }
  return findings
}

function creationFindings(
  { name, role }: NeededTopic,
  answer: Awaited<ReturnType<typeof mayCreateTopic>>,
  user: string | null,
): Finding[] {
  if (answer === null) return []
  if (answer === 'denied') return [lacks(user, ['Create'], `${role} ${name}, which does not exist`, ['--topic', name])]
  const fix = 'Correct topic.creation.*, or make the topic yourself.'
  return [{ level: 'problem', subject: name, message: `${role} ${name} cannot be made: ${answer.refused}`, fix }]
}

export async function checkTransactionalId(
  cluster: KafkaCluster,
  transactionalId: string,
  { user, signal }: Asking,
): Promise<Finding[]> {
  const { write, describe } = await mayUseTransactionalId(cluster, transactionalId, { signal })
  const lacking = [...(write ? [] : ['Write']), ...(describe === false ? ['Describe'] : [])]
  if (lacking.length === 0) return []
  return [lacks(user, lacking, `transactional id ${transactionalId}`, ['--transactional-id', transactionalId])]
}

function lacks(user: string | null, operations: readonly string[], what: string, resource: readonly string[]): Finding {
  const [option, name] = resource
  const principal = `User:${user ?? 'NAME'}`
  const each = operations.map((operation) => `--operation ${operation}`).join(' ')
  return {
    level: 'problem',
    subject: name!,
    message: `${who(user)} lacks ${operations.join(' and ')} on ${what}`,
    fix: `kafka-acls.sh --bootstrap-server HOST:PORT --add --allow-principal '${principal}' ${each} ${option} '${name}'`,
  }
}

function who(user: string | null): string {
  return user === null ? 'this user' : `user ${user}`
}
