// The file that is imported: its options, the dry run that follows each change of them, and the import itself. It is kept
// while the user looks at other views; a browser does not let a page open a file again after a reload.

import { batch, effect, signal } from "@preact/signals";
import { Failure, json } from "../../api/client";
import type { ImportColumn, ImportReport } from "../../api/document";
import { refresh } from "../../query/state";
import { recordType } from "../../schema";
import { session } from "../../session";
import { failureFrom } from "../../ui/loading";
import { DEFAULT, changesColumns, parseMapping, queryOf } from "./options";
import type { Entry, ImportOptions } from "./options";

export const source = signal<{ file: File; collection: string } | undefined>(undefined);
export const options = signal<ImportOptions>(DEFAULT);

/** The report of the last dry run that succeeded. */
export const preview = signal<ImportReport | undefined>(undefined);
/** Why the last dry run failed. */
export const previewFailure = signal<Failure | undefined>(undefined);
export const isChecking = signal(false);

/** The columns whose field is a guess that the user has neither confirmed nor changed. */
export const guessed = signal<ReadonlySet<string>>(new Set());
/** Whether existing records are updated because the file is an export of them, and not because the user chose it. */
export const isExport = signal(false);
/** Whether guesses of the next dry run are taken. */
let takesGuesses = true;

/** The import: what was sent, and what came of it. */
export type Run =
  | { state: "none" }
  | { state: "running"; key: string; sent: number | undefined; abort: AbortController }
  /** The response is missing: the same key continues the import. */
  | { state: "interrupted"; key: string; failure: Failure | undefined }
  | { state: "rejected"; failure: Failure }
  | { state: "done"; report: ImportReport };

export const run = signal<Run>({ state: "none" });

/** Takes a file. Its dry run starts at once. */
export function choose(file: File, collection: string): void {
  batch(() => {
    source.value = { file, collection };
    options.value = { ...DEFAULT, onConflict: isExport.peek() ? DEFAULT.onConflict : options.peek().onConflict };
    reset();
  });
}

/** Leaves the file. */
export function forget(): void {
  batch(() => {
    source.value = undefined;
    options.value = DEFAULT;
    reset();
  });
}

function reset(): void {
  preview.value = undefined;
  previewFailure.value = undefined;
  run.value = { state: "none" };
  guessed.value = new Set();
  isExport.value = false;
  takesGuesses = true;
}

/** Changes options. */
export function change(changes: Partial<ImportOptions>): void {
  batch(() => {
    // What was rejected had other options.
    if (run.peek().state === "rejected") run.value = { state: "none" };
    if ("onConflict" in changes) isExport.value = false;
    if (changesColumns(changes)) {
      takesGuesses = true;
      guessed.value = new Set();
      options.value = { ...options.peek(), mapping: [], ...changes };
    } else {
      options.value = { ...options.peek(), ...changes };
    }
  });
}

/** Reads a column into fields, or into none. Another column that had one of them loses it. */
export function assign(column: string, entries: Entry[]): void {
  const fields = entries.map(({ field }) => field);
  const others = options.peek().mapping.filter((entry) => entry.column !== column && !fields.includes(entry.field));
  batch(() => {
    guessed.value = new Set([...guessed.peek()].filter((name) => name !== column));
    change({ mapping: [...others, ...entries] });
  });
}

/** The fields that a column is read into, as chosen or as matched by the service. */
export function entriesOf(column: ImportColumn): Entry[] {
  const chosen = options.value.mapping.filter((entry) => entry.column === column.name);
  if (chosen.length > 0) return chosen;
  // A mapped column that was released is matched again by the next dry run.
  if (column.match === "mapped") return [];
  return column.fields.map((field) => ({ column: column.name, field, isYear: false }));
}

/** How long the options have to stay before the dry run, in milliseconds. */
const PAUSE = 250;

// The dry run.
effect(() => {
  const chosen = source.value;
  const query = queryOf(options.value);
  if (!chosen || session.value.state !== "signed_in") return;
  const controller = new AbortController();
  isChecking.value = true;
  const timer = setTimeout(
    () => {
      send(chosen, { ...query, dry_run: true }, { signal: controller.signal }).then(
        (report) => {
          batch(() => {
            isChecking.value = false;
            preview.value = report;
            previewFailure.value = undefined;
            takeGuesses(report);
          });
        },
        (error: unknown) => {
          if (controller.signal.aborted) return;
          isChecking.value = false;
          previewFailure.value = failureFrom(error);
        },
      );
    },
    preview.peek() ? PAUSE : 0,
  );
  return () => {
    clearTimeout(timer);
    controller.abort();
  };
});

/**
 * Takes the guesses of the first dry run of a file, but none for `problem`, the column of a list of rejected rows, and none
 * for the words of a title above the header.
 */
function takeGuesses(report: ImportReport): void {
  if (!takesGuesses || report.header_row !== undefined) return;
  takesGuesses = false;
  const isOfService = ["id", "version"].every((name) => report.columns.some((column) => column.name === name));
  const hasKey = (recordType.peek()?.natural_key.length ?? 0) > 0;
  if (isOfService && hasKey && options.peek().onConflict === "fail") {
    change({ onConflict: "update" });
    isExport.value = true;
  }
  const entries = report.columns.flatMap(({ name, guess }) => (guess && name !== "problem" ? parseMapping(guess) : []));
  if (entries.length === 0) return;
  guessed.value = new Set(entries.map(({ column }) => column));
  options.value = { ...options.peek(), mapping: entries };
}

interface Sending {
  signal: AbortSignal;
  headers?: Record<string, string>;
  onUpload?: (fraction: number) => void;
}

function send({ file, collection }: { file: File; collection: string }, query: ReturnType<typeof queryOf>, sending: Sending): Promise<ImportReport> {
  const headers = { "Content-Type": "application/octet-stream", ...sending.headers };
  return json<ImportReport>(`api/v1/${collection}/import`, { ...sending, method: "POST", query, body: file, headers });
}

/** Imports the file. `key` is that of an import that was interrupted. */
export async function start(key: string = crypto.randomUUID()): Promise<void> {
  const chosen = source.peek();
  if (!chosen) return;
  const abort = new AbortController();
  run.value = { state: "running", key, sent: 0, abort };
  try {
    const report = await send(chosen, queryOf(options.peek()), {
      signal: abort.signal,
      headers: { "Idempotency-Key": key },
      onUpload: (sent) => {
        if (run.peek().state === "running") run.value = { state: "running", key, sent: sent < 1 ? sent : undefined, abort };
      },
    });
    run.value = { state: "done", report };
  } catch (error) {
    run.value = outcome(key, abort, failureFrom(error));
  }
  // The table in the view of records still has those of before.
  refresh();
}

/** After a stop or a lost response the service may have written rows; after an error response the retry is another import. */
function outcome(key: string, abort: AbortController, failure: Failure): Run {
  if (abort.signal.aborted) return { state: "interrupted", key, failure: undefined };
  const { status, code } = failure.problem;
  const isUnknown = status === undefined || status >= 500 || code === "idempotency_key_in_use";
  return isUnknown ? { state: "interrupted", key, failure } : { state: "rejected", failure };
}

// A reload would lose the file and the report of the import.
addEventListener("beforeunload", (event) => {
  if (run.peek().state === "running") event.preventDefault();
});
