// The versions of a record from the journal: who changed what and when, and the way back.

import { useState } from "preact/hooks";
import { json } from "../api/client";
import type { ChangeKind, HistoryPage, RecordType, Revision } from "../api/document";
import { label, pathOf, shown } from "../schema";
import type { Item, Value } from "../schema";
import { allows } from "../session";
import { useAction, useLoaded } from "../ui/loading";
import { notify } from "../ui/notices";
import { ProblemNote } from "../ui/problem";
import { Confirm } from "../ui/confirm";
import { Shown } from "./facts";
import { ago } from "./past";
import { writes } from "../results/state";
import { hasJournal, restore } from "./writes";

/** The number of versions that are loaded at once. */
const PAGE = 20;

interface HistoryProps {
  type: RecordType;
  id: string;
  /** The current version; `undefined` if the record is deleted. */
  item: Item | undefined;
}

export function History({ type, id, item }: HistoryProps) {
  const path = pathOf(type, `/${encodeURIComponent(id)}/history`);
  const first = useLoaded(`${id} ${writes.value}`, async (signal) => {
    if (!(await hasJournal(type))) return undefined;
    return json<HistoryPage>(path, { query: { limit: PAGE }, signal });
  });
  if (first.failure?.code === "not_found") return <p class="quiet">The journal has no version of this record.</p>;
  if (first.failure) {
    return (
      <ProblemNote failure={first.failure}>
        <button type="button" onClick={first.reload}>
          Try again
        </button>
      </ProblemNote>
    );
  }
  if (!first.value) {
    if (first.loading) return <p class="quiet">Loading …</p>;
    return (
      <p class="quiet">
        {label(type.collection)} have no journal: the declaration of the record type turns it off (<code>journal = false</code>).
      </p>
    );
  }
  // Further pages belong to the first one; a write begins anew.
  return <Versions key={first.value.items[0]?.version} type={type} id={id} item={item} path={path} first={first.value} />;
}

const KINDS: Partial<Record<ChangeKind, string>> = {
  created: "Created",
  updated: "Changed",
  deleted: "Deleted",
  restored: "Restored",
  erased: "History erased",
};

function Versions({ type, id, item, path, first }: HistoryProps & { path: string; first: HistoryPage }) {
  const [further, setFurther] = useState<HistoryPage[]>([]);
  const [asksToErase, setAsksToErase] = useState(false);
  const more = useAction();
  const pages = [first, ...further];
  const revisions = pages.flatMap(({ items }) => items);
  const before = pages.at(-1)?.next_before;
  const loadMore = () =>
    more.run(async () => {
      const page = await json<HistoryPage>(path, { query: { limit: PAGE, before } });
      setFurther([...further, page]);
    });
  return (
    <>
      <ol class="versions">
        {revisions.map((revision) => (
          <Version key={revision.version} type={type} id={id} item={item} revision={revision} />
        ))}
      </ol>
      <ProblemNote failure={more.failure} />
      <div class="actions">
        {before !== undefined && (
          <button type="button" disabled={more.busy} onClick={() => void loadMore()}>
            {more.busy ? "Loading …" : "Earlier versions"}
          </button>
        )}
        <span class="spring" />
        {allows("admin") && (
          <button type="button" class="danger" onClick={() => setAsksToErase(true)}>
            Erase the history …
          </button>
        )}
      </div>
      {asksToErase && (
        <Confirm
          title="Erase the history?"
          action="Erase"
          onCancel={() => setAsksToErase(false)}
          onConfirm={async () => {
            await json(path, { method: "DELETE" });
            writes.value++;
            setAsksToErase(false);
            notify("The history of the record is erased");
          }}
        >
          <p>All versions of this record are removed from the journal{item && ", except its current values"}.</p>
          <p class="warning">This cannot be undone{!item && ", and the record cannot be restored afterwards"}.</p>
        </Confirm>
      )}
    </>
  );
}

function Version({ type, id, item, revision }: { type: RecordType; id: string; item: Item | undefined; revision: Revision }) {
  const { busy, failure, run } = useAction();
  const { version, kind, changed_at, subject, request_id, fields } = revision;
  const isCurrent = version === item?.version;
  const canRestore = !isCurrent && kind !== "deleted" && kind !== "erased" && allows(`${type.collection}:write`);
  return (
    <li aria-label={`Version ${version}`}>
      <p class="what">
        <b>{KINDS[kind] ?? label(kind)}</b> by <b>{subject}</b>{" "}
        <time dateTime={changed_at} title={`${shown("timestamp", changed_at)}${request_id ? `, request ${request_id}` : ""}`}>
          {ago(changed_at)}
        </time>
        <span class="spring" />
        <span class="quiet">
          version {version}
          {isCurrent && ", current"}
        </span>
      </p>
      {fields.length > 0 && (
        <dl class="changes">
          {fields.map(({ field, before, after }) => (
            <Change key={field} type={type} name={field} before={before as Value} after={after as Value} kind={kind} />
          ))}
        </dl>
      )}
      <ProblemNote failure={failure} />
      {canRestore && (
        <button type="button" disabled={busy} onClick={() => void run(() => restore(type, id, version, item))}>
          {busy ? "Restoring …" : "Restore this version"}
        </button>
      )}
    </li>
  );
}

interface ChangeProps {
  type: RecordType;
  name: string;
  before: Value;
  after: Value;
  kind: ChangeKind;
}

function Change({ type, name, before, after, kind }: ChangeProps) {
  const field = type.fields.find((it) => it.name === name);
  // Before, there was no record: only a deleted one is "restored", others are "updated".
  const isNew = kind === "created" || kind === "restored";
  return (
    <div>
      <dt>{label(name)}</dt>
      <dd>
        {!isNew && (
          <del>
            <Shown field={field} value={before} />
          </del>
        )}
        {!isNew && kind !== "deleted" && <span aria-label="becomes"> → </span>}
        {kind !== "deleted" && (
          <ins>
            <Shown field={field} value={after} />
          </ins>
        )}
      </dd>
    </div>
  );
}
