// The filter while it is typed, what the service says about it, and the search that is shown.

import { computed, effect, signal } from "@preact/signals";
import { Failure, json } from "../api/client";
import type { Diagnostic, NamedParameter, QueryCheck, Suggestion, SyntaxTree } from "../api/document";
import { go, place, typed } from "../place";
import { recordType } from "../schema";
import { session } from "../session";
import { failureFrom } from "../ui/loading";
import { bind, quoted, withCondition, withoutField } from "./clauses";

/** The text of the editor. */
export const draft = signal(place.peek().filter);

/** The result of the last check, with the text that was checked. */
export const checked = signal<{ text: string; result: QueryCheck } | undefined>(undefined);

/** Why the last check failed as a request. */
export const checkFailure = signal<Failure | undefined>(undefined);

/** The problems of the text in the editor; none while it is being checked. */
export const diagnostics = computed<Diagnostic[]>(() => {
  const known = checked.value;
  return known?.text === draft.value ? known.result.diagnostics : [];
});

export const warnings = computed<Diagnostic[]>(() => {
  const known = checked.value;
  return known?.text === draft.value ? known.result.warnings : [];
});

/** The message of a diagnostic with what to do. */
export function messageOf({ message, help }: Diagnostic): string {
  return [message, help].filter(Boolean).join("; ");
}

/** The `$parameters` of the text that was checked last, with their types. */
export const parameters = computed<NamedParameter[]>(() => checked.value?.result.parameters ?? []);

const EMPTY: Pick<QueryCheck, "ast" | "canonical" | "diagnostics" | "parameters" | "valid" | "warnings"> = {
  ast: {},
  canonical: {},
  diagnostics: [],
  parameters: [],
  valid: true,
  warnings: [],
};

/** Checks a filter. An empty one is valid, although the service expects it to be left out. */
export async function check(text: string, abort?: AbortSignal): Promise<QueryCheck> {
  const collection = recordType.value?.collection ?? "";
  if (!text.trim()) return { collection, ...EMPTY };
  const query = { filter: text, collection, position_encoding: "utf-16" };
  return json<QueryCheck>("api/v1/query/check", abort ? { query, signal: abort } : { query });
}

/** How long typing has to pause before the text is checked, in milliseconds. */
const PAUSE = 40;

// Checks what is typed.
effect(() => {
  const text = draft.value;
  if (!recordType.value || session.value.state !== "signed_in") return;
  const controller = new AbortController();
  const timer = setTimeout(() => {
    check(text, controller.signal).then(
      (result) => {
        checked.value = { text, result };
        checkFailure.value = undefined;
      },
      (error: unknown) => {
        if (!controller.signal.aborted) checkFailure.value = failureFrom(error);
      },
    );
  }, PAUSE);
  return () => {
    clearTimeout(timer);
    controller.abort();
  };
});

const chosen = computed(() => JSON.stringify([place.value.collection, place.value.filter]));

// A filter that was set elsewhere, by a facet or the history of the browser, replaces what was typed. Another order or an
// open record does not.
effect(() => {
  if (chosen.value) draft.value = place.peek().filter;
});

/** The search that is shown: the filter with the values of its parameters, and the order. */
export interface Applied {
  collection: string;
  filter: string;
  orderBy: string;
  /** The same for equal searches. */
  key: string;
}

/** `undefined` until the values of all parameters are known. */
export const applied = signal<Applied | undefined>(undefined);

/** The parameters without a value. */
export const missing = signal<string[]>([]);

effect(() => {
  const { filter, orderBy, parameters: values } = place.value;
  const collection = recordType.value?.collection;
  if (!collection || session.value.state !== "signed_in") return;
  let isCurrent = true;
  const apply = (bound: string): void => {
    const key = JSON.stringify([collection, bound, orderBy]);
    missing.value = [];
    if (applied.peek()?.key !== key) applied.value = { collection, filter: bound, orderBy, key };
  };
  if (!filter.includes("$")) {
    apply(filter.trim());
    return;
  }
  check(filter).then(
    (result) => {
      if (!isCurrent) return;
      const literals = new Map(result.parameters.map(({ name, type }) => [name, written(type, typed(values, name))]));
      const bound = bind(filter, result.ast, literals);
      if ("filter" in bound) apply(bound.filter);
      else missing.value = bound.missing;
    },
    // The search reports what is wrong.
    () => isCurrent && apply(filter),
  );
  return () => void (isCurrent = false);
});

/** The value of an input as a literal; empty if there is none. */
function written(type: NamedParameter["type"], value: string): string {
  if (!value) return "";
  return type === "text" || type === "id" ? quoted(value) : value;
}

/** Shows the records that the text in the editor matches. */
export function run(): void {
  const { filter, parameters: before } = place.peek();
  const known = checked.peek();
  const names = known?.text === draft.peek() ? known.result.parameters.map(({ name }) => name) : Object.keys(before);
  const values = Object.fromEntries(Object.entries(before).filter(([name]) => names.includes(name)));
  remember(recordType.peek()?.collection ?? "", draft.peek());
  if (filter === draft.peek()) refresh();
  else go({ filter: draft.peek(), parameters: values });
}

/** Shows the records that another filter matches. */
export function apply(filter: string): void {
  draft.value = filter;
  run();
}

/** Sends the search again, for records that have changed. */
export function refresh(): void {
  const current = applied.peek();
  if (current) applied.value = { ...current };
}

/** Ends when the last edit of the filter has: each one starts from what the one before has written. */
let edits: Promise<void> = Promise.resolve();

/**
 * Puts a condition in the place of those about a field. `conditionFor` gets the tree of the filter as it is by then, because
 * clicks can be faster than the service. It returns `undefined` for no condition, and `null` to change nothing.
 */
export function edit(field: string, conditionFor: (tree: SyntaxTree) => string | undefined | null): Promise<void> {
  const edited = edits.then(async () => {
    const { filter, collection } = place.peek();
    const { ast } = await check(filter);
    const condition = conditionFor(ast);
    // A search that was started meanwhile is what the user wants now.
    const isOutdated = place.peek().filter !== filter || place.peek().collection !== collection;
    if (condition === null || isOutdated) return;
    go({ filter: condition === undefined ? withoutField(filter, ast, field) : withCondition(filter, ast, condition, field) });
  });
  edits = edited.catch(() => undefined);
  return edited;
}

/** Replaces a part of the typed text. */
export function amend({ start, end, text }: Suggestion): void {
  draft.value = draft.peek().slice(0, start) + text + draft.peek().slice(end);
}

/** The number of rounds of `amendAll`: one correction can make the next problem visible. */
const MAX_ROUNDS = 10;

/** Applies every suggestion, and those for what they uncover. */
export async function amendAll(): Promise<void> {
  const before = draft.peek();
  let text = before;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const result = await check(text);
    const edits = result.diagnostics.flatMap(({ suggestion }) => (suggestion ? [suggestion] : []));
    if (edits.length === 0) break;
    let bound = Infinity;
    for (const edit of edits.toSorted((a, b) => b.start - a.start)) {
      if (edit.end > bound) continue;
      text = text.slice(0, edit.start) + edit.text + text.slice(edit.end);
      bound = edit.start;
    }
  }
  // What was typed meanwhile stays.
  if (draft.peek() === before) draft.value = text;
}

// The filters that were run, the newest first.

const HISTORY = "cinequery.history";
/** The number of filters that are remembered for a collection. */
const MAX_HISTORY = 50;

function allRemembered(): Map<string, string[]> {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(HISTORY) ?? "{}");
    const lists = Object.entries(stored ?? {}).filter(([, list]) => Array.isArray(list));
    return new Map(lists.map(([collection, list]) => [collection, (list as unknown[]).map(String)]));
  } catch {
    return new Map();
  }
}

/** The filters that were run before, without the present one. */
export function remembered(collection: string, present: string): string[] {
  return (allRemembered().get(collection) ?? []).filter((filter) => filter !== present);
}

function remember(collection: string, filter: string): void {
  if (!filter.trim()) return;
  const all = allRemembered();
  const others = (all.get(collection) ?? []).filter((text) => text !== filter);
  all.set(collection, [filter, ...others].slice(0, MAX_HISTORY));
  try {
    localStorage.setItem(HISTORY, JSON.stringify(Object.fromEntries(all)));
  } catch {
    // The storage is full or not allowed: the history is a convenience.
  }
}
