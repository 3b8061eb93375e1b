import { TidemarkError } from '../../core/errors.js'

const SHOWN_CHARS_MAX = 80

/** I7: a value that does not have its type's form is refused, never guessed. */
export function unreadable(type: string, text: string): TidemarkError {
  const shown = text.length > SHOWN_CHARS_MAX ? `${text.slice(0, SHOWN_CHARS_MAX)}...` : text
  return new TidemarkError('format.unreadable_value', {
    message: `A value is not a ${type} in the form expected from the source: ${JSON.stringify(shown)}.`,
    fix: 'Check transforms that change this column; if there are none, please report the column type and this message.',
  })
}
