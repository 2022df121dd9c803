// Writes of many records: selected ones in batches, each with the version that was seen, or all that match a filter.

import { stringify } from "../api/exact";
import { signal } from "@preact/signals";
import { Failure, json } from "../api/client";
import type { BatchItem, BatchReport, BatchResult, MovieBulkReport, RecordType } from "../api/document";
import type { Applied } from "../query/state";
import { select } from "../results/state";
import { count, label, pathOf, titleOf } from "../schema";
import type { Item } from "../schema";
import { failureFrom } from "../ui/loading";
import { notify } from "../ui/notices";
import { report, settle } from "./recent";
import type { Change, Touched } from "./recent";
import { pick, removed, restored, showAnew, writing } from "./writes";
import type { Values } from "./writes";

/** The number of operations of a request: few enough that the progress is seen, and far below the limit of 1,000. */
const BATCH = 200;
/** The size of a request in characters. The limit for its body is 1 MiB. */
const MAX_CHARACTERS = 250_000;
/** The number of records that a change by filter may match. */
export const MAX_MATCHED = 10_000;
/** The number of restores at the same time: the service runs three statements of a user at once. */
const WORKERS = 2;

/** What is being done with many records, and how far it is. */
export const progress = signal<{ text: string; done: number; all: number } | undefined>(undefined);

export interface Rejected {
  item: Item;
  detail: string;
}

export interface Outcome {
  /** The records that were written, with their new versions; `undefined` if they were deleted. */
  written: { item: Item; version: number | undefined }[];
  rejected: Rejected[];
}

interface Operation {
  item: Item;
  operation: BatchItem;
}

/** Sends operations in as many batches as needed. One that fails as a whole rejects the rest, and what was done stays. */
async function send(type: RecordType, text: string, operations: Operation[]): Promise<Outcome> {
  const outcome: Outcome = { written: [], rejected: [] };
  let done = 0;
  try {
    for (const part of partsOf(operations)) {
      progress.value = { text, done, all: operations.length };
      const body = { atomic: false, operations: part.map(({ operation }) => operation) };
      const { results } = await json<BatchReport>(pathOf(type, "/batch"), { method: "POST", headers: writing(), json: body });
      part.forEach(({ item }, index) => take(outcome, item, results[index]));
      done += part.length;
    }
  } catch (error) {
    const { message } = failureFrom(error);
    if (done === 0) throw error;
    for (const { item } of operations.slice(done)) outcome.rejected.push({ item, detail: message });
  } finally {
    progress.value = undefined;
  }
  return outcome;
}

function partsOf(operations: Operation[]): Operation[][] {
  const parts: Operation[][] = [];
  let size = Infinity;
  for (const operation of operations) {
    const length = stringify(operation.operation).length;
    const last = parts.at(-1);
    if (!last || last.length >= BATCH || size + length > MAX_CHARACTERS) {
      parts.push([operation]);
      size = length;
    } else {
      last.push(operation);
      size += length;
    }
  }
  return parts;
}

function take(outcome: Outcome, item: Item, result: BatchResult | undefined): void {
  if (result && result.status < 300) {
    const version = result.etag ? Number(result.etag.replaceAll('"', "")) : undefined;
    outcome.written.push({ item, version });
  } else {
    // The version that exists now is the one to decide about next.
    const now = (result?.current as Item | undefined) ?? item;
    outcome.rejected.push({ item: now, detail: result?.detail ?? "the service reports no result" });
  }
}

/** Selects the rejected records only, as they are now, and shows the others anew. */
function showOutcome({ written, rejected }: Outcome): void {
  select(written.map(({ item }) => item), false);
  select(rejected.map(({ item }) => item), true);
  showAnew();
}

function records(number: number): string {
  return `${count(number)} ${number === 1 ? "record" : "records"}`;
}

/** Returns whether the values of a record differ from the new ones. */
export function differs(item: Item, changes: Values): boolean {
  return Object.entries(changes).some(([name, value]) => (item[name] ?? null) !== value);
}

/** Changes fields of records, each in the version that was seen. */
export async function changeSelected(type: RecordType, items: Item[], changes: Values): Promise<Outcome> {
  const changed = items.filter((item) => differs(item, changes));
  const outcome = await patch(type, `Changing ${records(changed.length)}`, changed, () => changes);
  showOutcome(outcome);
  if (outcome.written.length > 0) {
    const fields = Object.keys(changes);
    const touched = outcome.written.map(({ item, version }): Touched => [item.id, item.version, version ?? item.version]);
    const text = `Changed ${records(touched.length)}: ${fields.map(label).join(", ")}`;
    report(type, "changed", text, touched, () => changeBack(type, outcome.written, fields));
  }
  return outcome;
}

function patch(type: RecordType, text: string, items: Item[], changes: (item: Item) => Values): Promise<Outcome> {
  const operations = items.map((item) => ({
    item,
    operation: { op: "patch" as const, id: item.id, version: item.version, record: changes(item) },
  }));
  return send(type, text, operations);
}

/** Sets fields to what they were. Records that were changed since are left as they are. */
async function changeBack(type: RecordType, written: Outcome["written"], fields: string[]): Promise<void> {
  const before = new Map(written.map(({ item }) => [item.id, item]));
  const items = written.map(({ item, version }) => ({ ...item, version: version ?? item.version }));
  const outcome = await patch(type, `Changing ${records(items.length)} back`, items, ({ id, version }) => {
    const item = before.get(id) ?? { id, version };
    return pick(item, fields);
  });
  showAnew();
  const others = outcome.rejected.map(({ item }) => item);
  notify(`Changed ${records(outcome.written.length)} back${left(type, others)}`, undefined, others.length > 0);
}

/** The number of records that a notice names. */
const NAMED = 3;

/** What is said about records that an undo has left as they are; `undefined` for one that is deleted. */
function left(type: RecordType, items: (Item | undefined)[]): string {
  if (items.length === 0) return "";
  const named = items.flatMap((item) => (item ? [`“${titleOf(type, item)}”`] : [])).slice(0, NAMED);
  const others = items.length - named.length;
  if (others > 0) named.push(named.length > 0 ? `${count(others)} more` : records(others));
  return `; ${named.join(", ")} changed since then and stayed as ${items.length === 1 ? "it is" : "they are"}`;
}

/** Deletes records, each in the version that was seen. */
export async function deleteSelected(type: RecordType, items: Item[], canUndo: boolean): Promise<Outcome> {
  const operations = items.map((item) => ({
    item,
    operation: { op: "delete" as const, id: item.id, version: item.version },
  }));
  const outcome = await send(type, `Deleting ${records(items.length)}`, operations);
  showOutcome(outcome);
  reportDeleted(type, outcome.written.map(({ item }) => item), canUndo);
  return outcome;
}

function reportDeleted(type: RecordType, items: Item[], canUndo: boolean): void {
  if (items.length === 0) return;
  const touched = items.map(({ id, version }): Touched => [id, version, 0]);
  const undo = async () => void (await restoreAll(type, "deleted", touched));
  report(type, "deleted", `Deleted ${records(items.length)}`, touched, canUndo ? undo : undefined);
}

/** Undoes a change by the journal, after a reload. */
export async function undoByJournal(type: RecordType, { id, kind, records: touched }: Change): Promise<void> {
  settle(id, await restoreAll(type, kind, touched));
}

/** Whether an undo failed because the record is not as the change has left it. */
function isChanged(kind: Change["kind"], { code = "" }: Failure): boolean {
  return code.startsWith("precondition_") || (kind === "created" && code === "not_found");
}

/**
 * Restores the versions before a change, each if the record is still as the change has left it. There is no such
 * operation in a batch. Returns the records that could not be restored but can be tried again.
 */
async function restoreAll(type: RecordType, kind: Change["kind"], touched: Touched[]): Promise<Touched[]> {
  const waiting = touched.values();
  const rest: Touched[] = [];
  const failures: Failure[] = [];
  const changed: (Item | undefined)[] = [];
  let done = 0;
  const work = async () => {
    for (const one of waiting) {
      const [id, before, after] = one;
      try {
        if (kind === "created") await removed(type, id, after);
        else await restored(type, id, before, after || undefined);
      } catch (error) {
        const failure = failureFrom(error);
        if (isChanged(kind, failure)) {
          changed.push(failure.problem.current as Item | undefined);
        } else {
          failures.push(failure);
          rest.push(one);
        }
      }
      progress.value = { text: `Restoring ${records(touched.length)}`, done: ++done, all: touched.length };
    }
  };
  try {
    await Promise.all(Array.from({ length: WORKERS }, work));
  } finally {
    progress.value = undefined;
    showAnew();
  }
  const [first] = failures;
  if (first && rest.length === touched.length) throw first;
  const failed = first ? `; ${records(rest.length)} could not be restored: ${first.message}` : "";
  const number = records(touched.length - changed.length - rest.length);
  const text = `${kind === "created" ? `Deleted ${number} again` : `Restored ${number}`}${left(type, changed)}${failed}`;
  notify(text, undefined, changed.length > 0 || rest.length > 0);
  return rest;
}

/** A change by filter has to name one. This one matches every record. */
const EVERY = "version >= 1";

function filterOf({ filter }: Applied): string {
  return filter || EVERY;
}

type Report = Omit<MovieBulkReport, "items"> & { items?: Item[] };

/** Counts the records that match, and returns the first of them. Without changes, for a deletion. */
export function tryMatching(type: RecordType, search: Applied, changes?: Values, abort?: AbortSignal): Promise<Report> {
  return json<Report>(pathOf(type), {
    method: changes ? "PATCH" : "DELETE",
    query: { filter: filterOf(search), dry_run: true },
    ...(changes ? { json: changes } : {}),
    ...(abort ? { signal: abort } : {}),
  });
}

/** The number of records of a page. */
const PAGE = 1000;

/**
 * Reads all records that match. Each is then written in the version that was read: with a single write of all, an undo
 * could overwrite what others have changed in between. Rejects if they are not as many as were shown.
 */
export async function readMatching(type: RecordType, search: Applied, all: number): Promise<Item[]> {
  const items: Item[] = [];
  let cursor: string | undefined;
  try {
    do {
      progress.value = { text: `Reading ${records(all)}`, done: items.length, all };
      const query = { filter: filterOf(search), limit: PAGE, cursor };
      const page: { items: Item[]; next_cursor?: string } = await json(pathOf(type), { query });
      items.push(...page.items);
      cursor = page.next_cursor;
    } while (cursor && items.length <= MAX_MATCHED);
  } finally {
    progress.value = undefined;
  }
  if (items.length !== all) {
    throw new Failure({ detail: `${records(items.length)} match by now instead of ${count(all)}; look at them again` });
  }
  return items;
}
