// The form of a record. It is made from the schema, and only what was changed is sent.

import { useEffect, useRef, useState } from "preact/hooks";
import type { RecordType, Violation } from "../api/document";
import { Failure } from "../api/client";
import { go } from "../place";
import { label, titleOf } from "../schema";
import type { Item } from "../schema";
import { allows } from "../session";
import { failureFrom, useAction, useLoaded } from "../ui/loading";
import { ProblemNote } from "../ui/problem";
import { Confirm } from "../ui/confirm";
import { changesOf, draftOf, forget, isSame, keep, kept, valuesOf, writableFields } from "./draft";
import type { Draft } from "./draft";
import { Facts } from "./facts";
import { FieldInput } from "./field";
import { Gone } from "./gone";
import { Merge } from "./merge";
import { change, create, hasJournal, read, remove } from "./writes";
import type { Values } from "./writes";

interface EditorProps {
  type: RecordType;
  /** `new` for a new record. */
  id: string;
  /** The current version; `undefined` for a new record. */
  item: Item | undefined;
  onDone: () => void;
}

export function Editor({ type, id, item, onDone }: EditorProps) {
  if (item && !allows(`${type.collection}:write`)) return <Facts type={type} item={item} fields={type.fields} />;
  return <Form type={type} id={id} item={item} onDone={onDone} />;
}

function Form({ type, id, item, onDone }: EditorProps) {
  const form = useRef<HTMLFormElement>(null);
  const [restored] = useState(() => kept(type.collection, id));
  const [base] = useState(restored?.base ?? item);
  const start = draftOf(type, base);
  const [draft, setDraft] = useState<Draft>({ ...start, ...restored?.draft });
  const [violations, setViolations] = useState<Violation[]>([]);
  /** The number of rejections: each one puts the focus on the first wrong value. A correction does not. */
  const [rejections, setRejections] = useState(0);
  const [theirs, setTheirs] = useState<Item>();
  const [isGone, setGone] = useState(false);
  const [asksToDelete, setAsksToDelete] = useState(false);
  const [asksToCopy, setAsksToCopy] = useState(false);
  const action = useAction();
  const fields = writableFields(type);
  const isDirty = !isSame(type, draft, start);

  useEffect(() => {
    if (rejections > 0) form.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();
  }, [rejections]);

  useEffect(() => {
    // The dialog has put the focus on its button to close. On a touch screen, a focus here would open the keyboard.
    const isElsewhere = document.activeElement?.closest(".record, [role=tablist]");
    if (!isElsewhere && matchMedia("(pointer: fine)").matches) form.current?.querySelector<HTMLElement>("[name]")?.focus();
  }, []);

  /** Keeps the values at once, not with the next rendering: the page may be left before. */
  const set = (next: Draft) => {
    setDraft(next);
    if (isSame(type, next, start)) forget(type.collection, id);
    else keep(type.collection, id, base ? { base, draft: next } : { draft: next });
  };
  const copy = () => {
    keep(type.collection, "new", { draft });
    go({ record: "new", panel: "" });
  };
  const done = () => {
    forget(type.collection, id);
    onDone();
  };
  /** Saves the values against a version, and shows why that is not possible. */
  const send = async (against: Item | undefined, changes: Values) => {
    setViolations([]);
    try {
      if (against) await change(type, against, changes);
      else await create(type, changes);
      done();
    } catch (error) {
      const failure = failureFrom(error);
      if (failure.code === "invalid_record") {
        setTheirs(undefined);
        setViolations(failure.problem.errors ?? []);
        setRejections((before) => before + 1);
        if (failure.problem.errors?.every((it) => fields.some(({ name }) => it.pointer === `/${name}`))) return;
      }
      if (against && failure.code === "not_found") setGone(true);
      else if (against && failure.code === "precondition_failed") {
        setTheirs((failure.problem.current as Item | undefined) ?? (await read(type, id)));
      } else throw failure;
    }
  };
  const save = () => {
    const changes = base ? changesOf(type, base, draft) : valuesOf(type, draft);
    return action.run(() => send(base, changes));
  };

  if (isGone) return <Gone type={type} id={id} known={base} onDone={done} />;
  if (base && theirs) {
    return (
      <Merge
        key={theirs.version}
        type={type}
        base={base}
        mine={changesOf(type, base, draft)}
        theirs={theirs}
        onSave={(changes) => send(theirs, changes)}
        onBack={() => setTheirs(undefined)}
        onTakeTheirs={done}
      />
    );
  }
  const readOnly = type.fields.filter((field) => !field.writable);
  return (
    <form
      ref={form}
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        // A date that is typed in part has no value. It must not be saved as none.
        if (!event.currentTarget.reportValidity()) return;
        if (!action.busy && (isDirty || !base)) void save();
      }}
      onKeyDown={(event) => {
        if (!(event.ctrlKey || event.metaKey) || event.key !== "s") return;
        event.preventDefault();
        event.currentTarget.requestSubmit();
      }}
    >
      {restored && isDirty && (
        <p class="warning">
          Your unsaved values are shown.
          {base && item && base.version !== item.version && " The record was changed meanwhile; saving shows both versions."}
          <button type="button" onClick={() => set(start)}>
            Discard
          </button>
        </p>
      )}
      {fields.map((field) => (
        <FieldInput
          key={field.name}
          field={field}
          value={draft[field.name] ?? null}
          onValue={(value) => {
            set({ ...draft, [field.name]: value });
            setViolations(violations.filter(({ pointer }) => pointer !== `/${field.name}`));
          }}
          problems={violations.filter(({ pointer }) => pointer === `/${field.name}`).map(({ detail }) => detail)}
          isChanged={Boolean(base) && draft[field.name] !== start[field.name]}
        />
      ))}
      {item && readOnly.length > 0 && (
        <section aria-label="Read-only fields">
          <Facts type={type} item={item} fields={readOnly} />
        </section>
      )}
      <div class="actions save">
        <SaveProblem failure={action.failure} />
        {violations.length > 0 && !action.failure && (
          <p class="problem" role="alert">
            Not saved: {violations.length === 1 ? "one value is" : `${violations.length} values are`} not valid.
          </p>
        )}
        {item && (
          <>
            <button type="button" class="danger" onClick={() => setAsksToDelete(true)}>
              Delete …
            </button>
            <button
              type="button"
              title="Open the form of a new record with these values"
              onClick={() => (kept(type.collection, "new") ? setAsksToCopy(true) : copy())}
            >
              Copy
            </button>
          </>
        )}
        <span class="spring" />
        {isDirty && base && (
          <button type="button" onClick={() => (set(start), setViolations([]), action.clear())}>
            Reset
          </button>
        )}
        <button class="primary" title="Ctrl+S" disabled={action.busy || (Boolean(base) && !isDirty)}>
          {action.busy ? "Saving …" : base ? "Save" : "Create"}
        </button>
      </div>
      {asksToCopy && (
        <Confirm title="Discard the unsaved new record?" action="Discard" onCancel={() => setAsksToCopy(false)} onConfirm={async () => copy()}>
          <p>There is a new record that is not saved. The copy replaces its values.</p>
        </Confirm>
      )}
      {asksToDelete && item && <Delete type={type} item={item} onCancel={() => setAsksToDelete(false)} onDone={done} />}
    </form>
  );
}

/** Why saving failed; with a link to the record that has the same key. */
function SaveProblem({ failure }: { failure: Failure | undefined }) {
  const existing = failure?.problem.existing_id;
  return (
    <ProblemNote failure={failure}>
      {existing && (
        <button type="button" onClick={() => go({ record: existing, panel: "" })}>
          Open the existing record
        </button>
      )}
    </ProblemNote>
  );
}

function Delete({ type, item, onCancel, onDone }: { type: RecordType; item: Item; onCancel: () => void; onDone: () => void }) {
  const journal = useLoaded(type.collection, () => hasJournal(type));
  return (
    <Confirm
      title={`Delete “${titleOf(type, item)}”?`}
      action="Delete"
      onCancel={onCancel}
      onConfirm={async () => {
        await remove(type, item);
        onDone();
      }}
    >
      {journal.value === false && (
        <p class="warning">{label(type.collection)} have no journal: a deletion cannot be undone.</p>
      )}
      {journal.value === true && <p class="quiet">You can undo this, and restore the record while the journal keeps it.</p>}
    </Confirm>
  );
}
