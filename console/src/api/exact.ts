// JSON with integers of 64 bits. A number of JavaScript would round those beyond 2^53, and what is changed back or copied
// would be saved rounded. They are of the type bigint here.

/** `JSON.rawJSON` and the source of values (ECMAScript 2026). Browsers without them have rounded numbers. */
const exact = JSON as typeof JSON & { rawJSON?: (text: string) => unknown };

type Reviver = (key: string, value: unknown, context?: { source?: string }) => unknown;

const keep: Reviver = (_, value, context) =>
  typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) ? integer(context?.source, value) : value;

function integer(source: string | undefined, rounded: number): bigint | number {
  return exact.rawJSON && source && /^-?\d+$/.test(source) ? BigInt(source) : rounded;
}

export function parse(text: string): unknown {
  return JSON.parse(text, keep);
}

export function stringify(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => (typeof part === "bigint" ? exact.rawJSON?.(String(part)) : part));
}

/** A typed integer; the text itself if it is none, or if the browser would round it. */
export function integerOf(text: string): number | bigint | string {
  if (!/^[+-]?\d+$/.test(text)) return text;
  const rounded = Number(text);
  if (Number.isSafeInteger(rounded)) return rounded;
  return exact.rawJSON ? BigInt(text.replace(/^\+/, "")) : text;
}
