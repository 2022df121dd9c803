// The dialog that changes fields of many records, with what it will do before it does it.

import { stringify } from "../api/exact";
import { useRef, useState } from "preact/hooks";
import type { FieldSchema, RecordType, Violation } from "../api/document";
import type { Applied } from "../query/state";
import { count, label, titleOf } from "../schema";
import type { Item, Value } from "../schema";
import { Dialog } from "../ui/dialog";
import { failureFrom, useAction, useLater, useLoaded } from "../ui/loading";
import { ProblemNote } from "../ui/problem";
import { startOf, valueOf, writableFields } from "./draft";
import type { Draft } from "./draft";
import { Shown } from "./facts";
import { FieldInput } from "./field";
import { MAX_MATCHED, changeSelected, differs, progress, readMatching, tryMatching } from "./many";
import type { Outcome, Rejected } from "./many";
import { Progress } from "./progress";
import type { Values } from "./writes";

/** The records that are meant: the selected ones, or all that match a filter. */
export type Scope = { items: Item[] } | { search: Applied; total: number };

interface ManyProps {
  type: RecordType;
  scope: Scope;
  onClose: () => void;
}

/** The number of records of the preview. */
const PREVIEW = 20;

export function ChangeMany({ type, scope: initial, onClose }: ManyProps) {
  // The selection changes while the records are written; what this dialog is about does not.
  const [scope, setScope] = useState(initial);
  const [draft, setDraft] = useState<Draft>({});
  const [violations, setViolations] = useState<Violation[]>([]);
  const [rejected, setRejected] = useState<Rejected[]>([]);
  const action = useAction();
  const form = useRef<HTMLFormElement>(null);
  const fields = writableFields(type).filter(({ name }) => Object.hasOwn(draft, name));
  const changes: Values = Object.fromEntries(fields.map((field) => [field.name, valueOf(field, draft[field.name] ?? null)]));
  /** A field that must have a value and has none yet: the service would reject it. */
  const isOpen = ({ name, nullable, min_length }: FieldSchema) => draft[name] === "" && !nullable && min_length !== 0;
  const isReady = fields.length > 0 && !fields.some(isOpen);
  const all = "items" in scope ? scope.items.length : scope.total;

  const take = (outcome: Outcome) => {
    if (outcome.rejected.length === 0) return onClose();
    setRejected(outcome.rejected);
    setScope({ items: outcome.rejected.map(({ item }) => item) });
  };
  const run = (expect: number) =>
    action.run(async () => {
      // A date that is typed in part has no value. It must not become none.
      if (!form.current?.reportValidity()) return;
      setViolations([]);
      setRejected([]);
      try {
        const items = "items" in scope ? scope.items : await readMatching(type, scope.search, expect);
        take(await changeSelected(type, items, changes));
      } catch (error) {
        const failure = failureFrom(error);
        if (failure.code !== "invalid_record") throw failure;
        setViolations(failure.problem.errors ?? []);
      }
    });
  const title = "items" in scope ? `Change ${count(all)} selected` : `Change all ${count(all)} that match`;
  const problemsOf = (name: string) => violations.filter(({ pointer }) => pointer.endsWith(`/${name}`));
  const set = (name: string, value: string | null) => {
    setDraft((before) => ({ ...before, [name]: value }));
    setViolations(violations.filter((violation) => !problemsOf(name).includes(violation)));
  };
  return (
    <Dialog title={title} kind="wide" onClose={() => !action.busy && onClose()}>
      <form class="many" ref={form} noValidate onSubmit={(event) => event.preventDefault()}>
        {"items" in scope ? null : <Meant search={scope.search} />}
        <fieldset>
          <legend>Fields to change</legend>
          {writableFields(type).map((field) => (
            <label key={field.name} class="choice">
              <input
                type="checkbox"
                checked={Object.hasOwn(draft, field.name)}
                onChange={(event) => {
                  if (event.currentTarget.checked) return set(field.name, startOf(field, undefined));
                  setDraft(Object.fromEntries(Object.entries(draft).filter(([name]) => name !== field.name)));
                }}
              />
              {label(field.name)}
            </label>
          ))}
        </fieldset>
        {fields.map((field) => (
          <FieldInput
            key={field.name}
            field={field}
            value={draft[field.name] ?? null}
            onValue={(value) => set(field.name, value)}
            problems={problemsOf(field.name).map(({ detail }) => detail)}
          />
        ))}
        <Report rejected={rejected} type={type} />
        {isReady && "items" in scope && (
          <SelectedPreview type={type} items={scope.items} changes={changes} busy={action.busy} onRun={run} />
        )}
        {isReady && !("items" in scope) && (
          <MatchingPreview type={type} {...scope} changes={changes} busy={action.busy} onRun={run} />
        )}
        {!isReady && <p class="quiet">Choose the fields to change and enter their new values.</p>}
        <ProblemNote failure={action.failure} />
      </form>
    </Dialog>
  );
}

interface PreviewProps {
  type: RecordType;
  changes: Values;
  busy: boolean;
  onRun: (expect: number) => Promise<void>;
}

function SelectedPreview({ type, items, changes, busy, onRun }: PreviewProps & { items: Item[] }) {
  const changed = items.filter((item) => differs(item, changes));
  return (
    <>
      <Preview type={type} items={changed} all={changed.length} changes={changes} />
      {changed.length < items.length && (
        <p class="quiet">{count(items.length - changed.length)} of the selected records have these values already.</p>
      )}
      <div class="actions save">
        <Progress />
        <span class="spring" />
        <button type="button" class="primary" disabled={busy || changed.length === 0} onClick={() => void onRun(changed.length)}>
          {busy ? "Changing …" : `Change ${count(changed.length)}`}
        </button>
      </div>
    </>
  );
}

function MatchingPreview(props: PreviewProps & { search: Applied }) {
  const { type, search, changes, busy, onRun } = props;
  const typed = stringify(changes);
  const key = useLater(typed);
  const tried = useLoaded(`${search.key} ${key}`, (signal) => tryMatching(type, search, changes, signal));
  if (tried.failure) return <ProblemNote failure={tried.failure} />;
  if (!tried.value) return <p class="quiet">Counting …</p>;
  const { matched, items = [] } = tried.value;
  return (
    <>
      <Preview type={type} items={items} all={matched} changes={changes} />
      {matched > MAX_MATCHED && (
        <p class="warning">At most {count(MAX_MATCHED)} records can be changed at once. Narrow the filter.</p>
      )}
      <p class="quiet">
        Records that are changed by others between the count and the change are changed, too. They are left out when you undo it.
      </p>
      <div class="actions save">
        <Progress />
        <span class="spring" />
        <button
          type="button"
          class="primary"
          disabled={busy || tried.loading || key !== typed || matched === 0 || matched > MAX_MATCHED || Boolean(progress.value)}
          onClick={() => void onRun(matched)}
        >
          {busy ? "Changing …" : `Change all ${count(matched)}`}
        </button>
      </div>
    </>
  );
}

interface PreviewTableProps {
  type: RecordType;
  items: Item[];
  /** The number of records that are changed; `items` may have the first of them only. */
  all: number;
  changes: Values;
}

/** The values before and after, for the first records. */
function Preview({ type, items, all, changes }: PreviewTableProps) {
  const shown = items.slice(0, PREVIEW);
  const fields = type.fields.filter(({ name }) => Object.hasOwn(changes, name));
  return (
    <>
      <h3>Preview</h3>
      <div class="scroll" tabIndex={0} role="region" aria-label="Preview">
        <table>
          <thead>
            <tr>
              <th scope="col">{type.name}</th>
              {fields.map(({ name }) => (
                <th scope="col" key={name}>
                  {label(name)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map((item) => (
              <tr key={item.id}>
                <th scope="row">{titleOf(type, item)}</th>
                {fields.map((field) => (
                  <td key={field.name}>
                    <Difference field={field} before={item[field.name] ?? null} after={changes[field.name] ?? null} />
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {all > shown.length && <p class="quiet">… and {count(all - shown.length)} more.</p>}
    </>
  );
}

function Difference({ field, before, after }: { field: FieldSchema; before: Value; after: Value }) {
  if (before === after) {
    return (
      <span class="quiet">
        <Shown field={field} value={before} />
      </span>
    );
  }
  return (
    <>
      <del>
        <Shown field={field} value={before} />
      </del>
      <span aria-label="becomes"> → </span>
      <ins>
        <Shown field={field} value={after} />
      </ins>
    </>
  );
}

/** Which records "all" are. */
export function Meant({ search }: { search: Applied }) {
  if (!search.filter) return <p class="warning">There is no filter: these are all records of the collection.</p>;
  return (
    <p>
      All records that match <code>{search.filter}</code>
    </p>
  );
}

/** The number of rejected records that are listed. */
const LISTED = 20;

/** The records that were not written, and why. They stay selected. */
export function Report({ type, rejected }: { type: RecordType; rejected: Rejected[] }) {
  if (rejected.length === 0) return null;
  return (
    <div class="problem" role="alert">
      <p>
        {rejected.length === 1 ? "One record was" : `${count(rejected.length)} records were`} rejected and stayed as they are. They
        are selected, with their current values.
      </p>
      <ul>
        {rejected.slice(0, LISTED).map(({ item, detail }) => (
          <li key={item.id}>
            <b>{titleOf(type, item)}</b>: {detail}
          </li>
        ))}
      </ul>
      {rejected.length > LISTED && <p>… and {count(rejected.length - LISTED)} more.</p>}
    </div>
  );
}
