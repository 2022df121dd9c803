// Saved queries in the query bar: a word at the start of a filter can be the name of one.

import { json } from "../api/client";
import type { SavedQuery, SavedQueryPage } from "../api/document";
import { elsewhere } from "../place";
import type { Place } from "../place";
import { session } from "../session";

/** The place that shows what a saved query finds, with the defaults of its parameters. */
export function placeOf({ filter = "", order_by: orderBy = "", parameters }: SavedQuery): Partial<Place> {
  const defaults = parameters.flatMap(({ name, default: value }): [string, string][] =>
    value === undefined || value === null ? [] : [[name, String(value)]],
  );
  return { ...elsewhere("records"), filter, orderBy, parameters: Object.fromEntries(defaults) };
}

/** A filter that is only the start of a word so far. */
const WORD = /^\s*([\p{L}\d_-]*)\s*$/u;
/** The number of queries that are offered, and that are looked at. */
const MAX_OFFERED = 5;
const MAX_LISTED = 100;
/** How long a list is used, in milliseconds. */
const MAX_AGE = 10_000;

let list: { collection: string; time: number; queries: SavedQuery[] } | undefined;

async function listed(collection: string, signal: AbortSignal): Promise<SavedQuery[]> {
  if (list?.collection === collection && Date.now() - list.time < MAX_AGE) return list.queries;
  const query = { limit: MAX_LISTED };
  const { items, built_in } = await json<SavedQueryPage>(`api/v1/queries/${collection}`, { query, signal });
  const queries = [...items, ...(built_in ?? [])].filter(({ valid }) => valid);
  list = { collection, time: Date.now(), queries };
  return queries;
}

/** The saved queries whose name or description has the word that the filter is so far. */
export async function savedQueries(collection: string, filter: string, signal: AbortSignal): Promise<SavedQuery[]> {
  const word = WORD.exec(filter)?.[1]?.toLowerCase();
  const current = session.peek();
  if (word === undefined || (current.state === "signed_in" && current.isVisitor)) return [];
  const queries = await listed(collection, signal);
  const matches = ({ name, description }: SavedQuery) => `${name} ${description ?? ""}`.toLowerCase().includes(word);
  return queries.filter(matches).slice(0, MAX_OFFERED);
}
