/** PostgreSQL log positions as 64-bit integers and as the server prints them. */

export function parseLsn(text: string): bigint {
  const [high, low, ...rest] = text.split('/')
  if (!high || !low || rest.length > 0 || !/^[0-9A-Fa-f]{1,8}$/.test(high) || !/^[0-9A-Fa-f]{1,8}$/.test(low)) {
    throw new RangeError(`"${text}" is not a log position`)
  }
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`)
}

export function formatLsn(lsn: bigint): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`
}
