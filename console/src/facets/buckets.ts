// The buckets of a histogram: how many records have a value in each range of an integer or a date.

import type { FacetItem, FieldSchema } from "../api/document";
import { json } from "../api/client";
import { both, counts } from "./base";
import { UNITS, dayOf, nameOf, startOf } from "./days";
import type { Unit } from "./days";

export interface Bucket {
  /** The first and the last value. Days are numbers, as in `days.ts`. */
  from: number;
  to: number;
  count: number;
  label: string;
}

type Span = Omit<Bucket, "label">;

export interface Buckets {
  /** Ascending and without gaps. */
  items: Bucket[];
  /** The labels of the start and the end. */
  edges: [string, string];
  /** The number of records without a value. */
  missing: number;
}

/** The number of bars that fit well beside the table. */
const MAX_BARS = 48;
/** The number of bars that fit if each is one value, which is worth narrow ones: a pair of years has no name. */
const MAX_SINGLE = 80;
/** Months whose first days are less apart are drawn by day or by week: with the last month there are at most as many weeks as bars. */
const MAX_DAYS = 300;
/** The number of items of a response. */
const MAX_ITEMS = 1000;

type Pair = [value: number, count: number];

/** Counts the records that match a filter by the values of a field. */
export function loadBuckets(field: FieldSchema, collection: string, filter: string, abort: AbortSignal): Promise<Buckets> {
  const load = field.type === "integer" ? integers : days;
  return load(field, collection, filter, abort);
}

async function days({ name }: FieldSchema, collection: string, filter: string, abort: AbortSignal): Promise<Buckets> {
  const load = (interval: Unit) => counts(collection, { by: name, filter, interval, limit: MAX_ITEMS }, abort);
  let unit: Unit = "month";
  let found = await load(unit);
  const spread = () => {
    const pairs = valued(found.items).map(({ value, count }): Pair => [dayOf(String(value)), count]);
    return { pairs, first: pairs[0]?.[0], last: pairs.at(-1)?.[0] };
  };
  const months = spread();
  if (found.rest.values > 0) found = await load((unit = "year"));
  else if ((months.last ?? 0) - (months.first ?? 0) < MAX_DAYS) found = await load((unit = "day"));
  const { pairs, first, last } = spread();
  const missing = missingIn(found.items);
  if (first === undefined || last === undefined) return { items: [], edges: ["", ""], missing };
  const wide = (Object.keys(UNITS) as Unit[]).slice(Object.keys(UNITS).indexOf(unit));
  const fitting = wide.find((it) => startOf(it, first, MAX_BARS) > last) ?? "century";
  const items = filled(pairs, startOf(fitting, first), last, (start) => startOf(fitting, start, 1));
  const edge = (day: number | undefined) => (day === undefined ? "" : nameOf(fitting === "week" ? "day" : fitting, day));
  return {
    items: items.map((span) => ({ ...span, label: nameOf(fitting, span.from) })),
    edges: [edge(items[0]?.from), edge(fitting === "week" ? items.at(-1)?.to : items.at(-1)?.from)],
    missing,
  };
}

async function integers({ name }: FieldSchema, collection: string, filter: string, abort: AbortSignal): Promise<Buckets> {
  const found = await counts(collection, { by: name, filter, limit: MAX_ITEMS }, abort);
  let pairs = valued(found.items).map(({ value, count }): Pair => [Number(value), count]);
  pairs.sort(([a], [b]) => a - b);
  let missing = missingIn(found.items);
  let [first, last] = [pairs[0]?.[0], pairs.at(-1)?.[0]];
  if (found.rest.values > 0) {
    const end = async (direction: string) => {
      const query = { filter: both(filter, `${name} is not null`), order_by: `${name} ${direction}`, limit: 1 };
      const { items } = await json<{ items: Record<string, unknown>[] }>(`api/v1/${collection}`, { query, signal: abort });
      const value = items[0]?.[name];
      return typeof value === "number" ? value : undefined;
    };
    [first, last] = [await end("asc"), await end("desc")];
  }
  if (first === undefined || last === undefined) return { items: [], edges: ["", ""], missing };
  const width = widthFor(first, last);
  if (found.rest.values > 0) {
    const wide = await counts(collection, { by: name, filter, interval: width, limit: MAX_ITEMS }, abort);
    pairs = valued(wide.items).map(({ value, count }): Pair => [Number(value), count]);
    missing = missingIn(wide.items);
  }
  const items = filled(pairs, Math.floor(first / width) * width, last, (start) => start + width);
  const named = (span: Span): Bucket => {
    const [from, to] = [String(span.from), String(span.to)];
    return { ...span, label: from === to ? from : `${from}–${to}` };
  };
  // The last bar can end after the greatest value.
  return { items: items.map(named), edges: [String(first), String(last)], missing };
}

function valued(items: FacetItem[]): FacetItem[] {
  return items.filter(({ value }) => value !== null);
}

function missingIn(items: FacetItem[]): number {
  return items.find(({ value }) => value === null)?.count ?? 0;
}

/** The smallest of 1, 2, 5, 10, 20 … that makes few enough buckets, and that numbers of this size can tell apart. */
function widthFor(first: number, last: number): number {
  for (let power = 1; ; power *= 10) {
    for (const width of [power, 2 * power, 5 * power]) {
      const isDistinct = last + width > last && first - width < first;
      const most = width === 1 ? MAX_SINGLE : MAX_BARS;
      if (isDistinct && Math.floor(last / width) - Math.floor(first / width) < most) return width;
    }
  }
}

/** Sums pairs in ascending order into the buckets from `start` on. */
function filled(pairs: Pair[], start: number, last: number, next: (start: number) => number): Span[] {
  const buckets: Span[] = [];
  let at = 0;
  for (let from = start; from <= last; from = next(from)) {
    const to = next(from) - 1;
    let sum = 0;
    for (let pair = pairs[at]; pair && pair[0] <= to; pair = pairs[++at]) sum += pair[1];
    buckets.push({ from, to, count: sum });
  }
  return buckets;
}
