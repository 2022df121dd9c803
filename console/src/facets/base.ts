// The search whose records are counted, and the requests that count them, one after the other.

import { effect, signal, untracked } from "@preact/signals";
import { json } from "../api/client";
import type { Failure, Query } from "../api/client";
import type { Facets, SyntaxTree } from "../api/document";
import { withoutField } from "../query/clauses";
import { applied, check } from "../query/state";
import type { Applied } from "../query/state";
import { writes } from "../results/state";
import { failureFrom } from "../ui/loading";

export interface Base {
  collection: string;
  filter: string;
  tree: SyntaxTree;
  /** Whether a search accepts the filter. */
  valid: boolean;
  /** The number of times that the same search was sent again, because records have changed. */
  turn: number;
}

/** The search that is shown, with the syntax tree of its filter. */
export const base = signal<Base | undefined>(undefined);

/** Why the tree is missing. */
export const baseFailure = signal<Failure | undefined>(undefined);

let before: Applied | undefined;
let written = 0;
let turn = 0;

effect(() => {
  const search = applied.value;
  if (!search) return;
  const isAgain = before?.key === search.key && (before !== search || written !== writes.value);
  written = writes.value;
  if (isAgain) turn++;
  const isSame = before?.collection === search.collection && before.filter === search.filter;
  before = search;
  // Another order has the same counts.
  if (isSame && !isAgain && base.peek()) return;
  const { collection, filter } = search;
  const controller = new AbortController();
  untracked(() => check(filter, controller.signal)).then(
    ({ ast, valid }) => {
      baseFailure.value = undefined;
      base.value = { collection, filter, tree: ast, valid, turn };
    },
    (error: unknown) => {
      if (!controller.signal.aborted) baseFailure.value = failureFrom(error);
    },
  );
  return () => controller.abort();
});

/** The filter without the conditions about a field, so that its other values stay visible. */
export function filterBeside({ filter, tree }: Base, field: string): string {
  return withoutField(filter, tree, field);
}

/** Two filters of which both have to hold. */
export function both(filter: string, condition: string): string {
  return filter ? `(${filter}) and ${condition}` : condition;
}

/** Ends when the last request of the queue has. */
let last: Promise<unknown> = Promise.resolve();

/** Ends when a request is cancelled. One that waits for its next attempt must not hold up the others until then. */
function cancelled(abort: AbortSignal): Promise<void> {
  return new Promise((done) => {
    if (abort.aborted) done();
    else abort.addEventListener("abort", () => done(), { once: true });
  });
}

/** Counts records by a field, when the counts that were asked for before are there: a search is more urgent than all of them. */
export function counts(collection: string, query: Query & { by: string }, abort: AbortSignal): Promise<Facets> {
  const result = last.then(() => {
    abort.throwIfAborted();
    return json<Facets>(`api/v1/${collection}/facets`, { query, signal: abort });
  });
  last = last.then(() => Promise.race([result.catch(() => undefined), cancelled(abort)]));
  return result;
}
