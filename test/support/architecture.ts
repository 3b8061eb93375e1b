/**
 * What the folders may know of each other (docs/architecture.md), read from the import statements themselves. Kept apart
 * from its test so that broken fixtures prove that a broken arrow is found.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import ts from 'typescript'

export const PRODUCT_FOLDERS = ['core', 'drivers', 'connectors', 'sinks', 'config', 'cli'] as const
type Folder = (typeof PRODUCT_FOLDERS)[number]

const MAY_IMPORT: Readonly<Record<Folder, readonly Folder[]>> = {
  core: [],
  drivers: ['core'],
  connectors: ['core', 'drivers'],
  sinks: ['core', 'drivers'],
  config: ['core', 'drivers', 'connectors', 'sinks'],
  cli: ['core', 'drivers', 'connectors', 'sinks', 'config'],
}

/** Packages that only files named for their driver may import; the rest name the folders that may. */
const DRIVERS: Readonly<Record<string, string>> = {
  pg: 'drivers/postgres',
  'pg-copy-streams': 'drivers/postgres',
  'pg-logical-replication': 'drivers/postgres',
  kafkajs: 'drivers/kafka',
  '@node-rs/crc32': 'drivers/kafka',
  '@mongodb-js/zstd': 'drivers/kafka',
  'lz4-napi': 'drivers/kafka',
  snappy: 'drivers/kafka',
  '@vlasky/zongji': 'drivers/mysql',
  mysql2: 'drivers/mysql',
}
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  zod: ['config/', 'connectors/', 'sinks/', 'core/define.ts', 'core/options.ts', 'drivers/kafka-options.ts'],
  yaml: ['config/', 'cli/'],
  commander: ['cli/'],
  pino: ['cli/'],
  tap: ['core/testing/'],
  fzstd: ['connectors/mysql/'],
}

export const FILE_LINES_MAX = 400

export interface SourceFile {
  /** From the repository's root, with forward slashes. */
  readonly path: string
  readonly text: string
}

export function readSources(root: string, folders: readonly string[]): SourceFile[] {
  return folders.flatMap((folder) => {
    if (!statSync(join(root, folder), { throwIfNoEntry: false })?.isDirectory()) return []
    return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts') && !name.includes('node_modules'))
      .map((name) => posix.join(folder, name.replaceAll('\\', '/')))
      .sort()
      .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }))
  })
}

/** Every broken arrow, as a sentence. */
export function brokenArrows(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) => imports(file).flatMap((target) => judge(file.path, target) ?? []))
}

function judge(path: string, target: string): string | null {
  const folder = path.split('/')[0] as Folder
  if (target.startsWith('node:')) return null
  if (!target.startsWith('.')) return judgePackage(path, target)
  if (!/\.(js|json)$/.test(target)) return `${path} imports ${target} without its .js suffix`
  const resolved = posix.normalize(posix.join(dirname(path), target))
  const other = resolved.split('/')[0] as Folder
  if (other === folder || !PRODUCT_FOLDERS.includes(folder)) return null
  if (!MAY_IMPORT[folder].includes(other)) return `${path} imports ${resolved}: ${folder} must not know ${other}`
  return null
}

function judgePackage(path: string, target: string): string | null {
  const name = target
    .split('/')
    .slice(0, target.startsWith('@') ? 2 : 1)
    .join('/')
  const driver = DRIVERS[name]
  if (driver) {
    const own = path === `${driver}.ts` || path.startsWith(`${driver}-`)
    return own ? null : `${path} imports ${name}: only ${driver}*.ts may`
  }
  const allowed = PACKAGES[name]
  if (!allowed) return `${path} imports ${name}, which no rule in test/support/architecture.ts allows`
  return allowed.some((prefix) => path.startsWith(prefix))
    ? null
    : `${path} imports ${name}: only ${allowed.join(', ')} may`
}

/** Names of default exports and barrels where named exports belong, and of `utils` files. */
export function brokenShapes(files: readonly SourceFile[]): string[] {
  return files.flatMap(({ path, text }) => {
    const found: string[] = []
    const parsed = parse(path, text)
    for (const statement of parsed.statements) {
      const isDefault =
        ts.isExportAssignment(statement) ||
        (ts.canHaveModifiers(statement) &&
          ts.getModifiers(statement)?.some((modifier) => modifier.kind === ts.SyntaxKind.DefaultKeyword))
      if (isDefault) found.push(`${path} has a default export`)
    }
    const name = posix.basename(path)
    if (/^(utils?|helpers?|misc|common)\b/.test(name)) found.push(`${path}: the name says nothing`)
    if (!/^[a-z0-9]+(-[a-z0-9]+)*(\.test)?\.ts$/.test(name)) found.push(`${path} is not named in kebab-case`)
    const lines = text.split('\n').length - 1
    if (lines > FILE_LINES_MAX && !/^\/\*\*[\s\S]*?\*\//.test(text.replace(/^#!.*\n/, ''))) {
      found.push(`${path} has ${lines} lines and does not say why in a first comment`)
    }
    return found
  })
}

/** All module names that a file imports or exports from, also dynamically and as types. */
function imports({ path, text }: SourceFile): string[] {
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier) {
      if (ts.isStringLiteral(node.moduleSpecifier)) found.push(node.moduleSpecifier.text)
    } else if (ts.isCallExpression(node) && loads(node.expression)) {
      const [argument] = node.arguments
      if (argument && ts.isStringLiteral(argument)) found.push(argument.text)
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      const { literal } = node.argument
      if (ts.isStringLiteral(literal)) found.push(literal.text)
    }
    ts.forEachChild(node, visit)
  }
  visit(parse(path, text))
  return found
}

/** `import()`, or what loads a driver's library when it is needed. */
function loads(called: ts.Expression): boolean {
  return called.kind === ts.SyntaxKind.ImportKeyword || (ts.isIdentifier(called) && called.text === 'onDemand')
}

function parse(path: string, text: string): ts.SourceFile {
  return ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)
}
