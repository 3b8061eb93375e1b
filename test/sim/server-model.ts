/** What the simulated server holds: two tables whose keys are apart, transactions, and the messages of its log. */
export type TableNumber = 0 | 1

export const FIRST_TABLE = 0
/** Keys from here on belong to the second table. */
export const SECOND_TABLE = 100

export function tableOf(k: number): TableNumber {
  return k >= SECOND_TABLE ? 1 : 0
}

export interface Stored {
  /** Names this image of the row among all that were ever written. */
  readonly v: number
  /** A value that is stored out of line: updates do not send it. */
  readonly t: number
}

interface Message {
  readonly table: TableNumber
  /** Columns that the table had gained when this was written. */
  readonly width: number
}

interface Changed extends Message {
  readonly k: number
  readonly v: number
  readonly t: number
}

export type RowMessage =
  | (Changed & { readonly op: 'c'; readonly old: null })
  | (Changed & { readonly op: 'u' | 'd'; readonly old: Stored })
  | (Changed & { readonly op: 'm'; readonly from: number; readonly unsent: boolean; readonly old: Stored })
  | (Message & { readonly op: 't' })

export interface Txn {
  readonly id: number
  xid: number
  /** Under way when the second table was published. */
  blind: boolean
  readonly overlay: Map<number, Stored | null>
  /** Tables that it has locked in any mode. */
  readonly touched: Set<TableNumber>
  readonly truncated: Set<TableNumber>
  /** Columns of the tables that it altered. */
  readonly widths: Map<TableNumber, number>
  readonly messages: RowMessage[]
  state: 'active' | 'limbo' | 'visible'
  /** Place of the commit record in the log. */
  end: number
}

export interface Snapshot {
  readonly xmin: number
  readonly xmax: number
  readonly xip: readonly number[]
  /** Insert position when it was taken. */
  readonly after: number
  /** Everything that committed up to here is visible: the low mark of engines without exact cuts. */
  readonly low: number
  readonly rows: ReadonlyMap<number, Stored>
  readonly widths: readonly number[]
  readonly rewrites: readonly number[]
}

export interface ServerProfile {
  readonly keys: number
  readonly txns: number
  readonly added: boolean
  readonly wide: boolean
  readonly truncates: number
  readonly alters: number
  readonly moves: number
  readonly toast: boolean
  readonly visibility: 'free' | 'prefix' | 'ordered'
}
