// The panel of a record beside the table: its form, its history, and why a filter matches it or not.

import { useEffect, useRef, useState } from "preact/hooks";
import type { RecordType } from "../api/document";
import { go, place } from "../place";
import { recordType, titleOf } from "../schema";
import { allows } from "../session";
import { Dialog } from "../ui/dialog";
import { useLoaded } from "../ui/loading";
import { ProblemNote } from "../ui/problem";
import { Confirm } from "../ui/confirm";
import { forget, kept } from "./draft";
import { Editor } from "./editor";
import { Gone } from "./gone";
import { History } from "./history";
import { Match } from "./match";
import { writes } from "../results/state";
import { read } from "./writes";
import "./record.css";

export function RecordPanel() {
  const { record } = place.value;
  const type = recordType.value;
  // The row that opened the panel may be gone. The focus must not be lost.
  useEffect(() => () => void requestAnimationFrame(focusContent), []);
  if (!record || !type) return null;
  return <Panel key={`${type.collection}/${record}`} type={type} id={record} />;
}

function focusContent(): void {
  if (document.activeElement === document.body) document.getElementById("content")?.focus();
}

const TABS = [
  ["", "Form"],
  ["history", "History"],
  ["match", "Why found?"],
] as const;

function Panel({ type, id }: { type: RecordType; id: string }) {
  const isNew = id === "new";
  const [asks, setAsks] = useState(false);
  const [isFound, setFound] = useState(true);
  const loaded = useLoaded(isNew ? undefined : `${id} ${writes.value}`, (signal) => read(type, id, signal));
  const { value: item, failure } = loaded;
  const isGone = failure?.code === "not_found";
  const panel = TABS.find(([name]) => name === place.value.panel)?.[0] ?? "";

  const leave = () => go({ record: "", panel: "" });
  const close = () => (kept(type.collection, id) ? setAsks(true) : leave());
  const title = isNew ? `New ${type.name.toLowerCase()}` : item ? titleOf(type, item) : type.name;
  return (
    <Dialog title={title} kind="panel" onClose={close}>
      {!isNew && <Tabs selected={panel} isFound={isFound} />}
      <div class="record" role={isNew ? undefined : "tabpanel"} aria-labelledby={isNew ? undefined : `tab-${panel}`}>
        {failure && !isGone && (
          <ProblemNote failure={failure}>
            <button type="button" onClick={loaded.reload}>
              Try again
            </button>
          </ProblemNote>
        )}
        {!isNew && !item && loaded.loading && <p class="quiet">Loading …</p>}
        {isNew && !allows(`${type.collection}:write`) && <p class="problem">You may not create records of this collection.</p>}
        {panel === "" && isGone && <Gone type={type} id={id} known={item} onDone={leave} />}
        {panel === "" && !isGone && (isNew ? allows(`${type.collection}:write`) : item) && (
          <Editor key={isNew ? "new" : String(item?.version)} type={type} id={id} item={item} onDone={leave} />
        )}
        {panel === "history" && <History type={type} id={id} item={isGone ? undefined : item} />}
        {panel === "match" &&
          (isGone ? <p class="quiet">A deleted record matches no filter.</p> : <Match type={type} id={id} onTested={setFound} />)}
      </div>
      {asks && (
        <Confirm
          title="Discard changes?"
          action="Discard"
          onCancel={() => setAsks(false)}
          onConfirm={async () => {
            forget(type.collection, id);
            leave();
          }}
        >
          <p>{isNew ? "The new record is not saved." : "The changes of this record are not saved."}</p>
        </Confirm>
      )}
    </Dialog>
  );
}

function Tabs({ selected, isFound }: { selected: string; isFound: boolean }) {
  const list = useRef<HTMLDivElement>(null);
  const show = (index: number) => {
    const [name] = TABS[(index + TABS.length) % TABS.length] ?? TABS[0];
    go({ panel: name }, { replace: true });
    list.current?.querySelector<HTMLElement>(`#tab-${name}`)?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label="Parts of the record" ref={list}>
      {TABS.map(([name, text], index) => (
        <button
          type="button"
          key={name}
          id={`tab-${name}`}
          role="tab"
          aria-selected={name === selected}
          tabIndex={name === selected ? 0 : -1}
          // The form takes the focus to its first field.
          autofocus={name === selected && name !== ""}
          onClick={() => show(index)}
          onKeyDown={(event) => {
            const steps: Record<string, number> = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: TABS.length - 1 };
            const target = steps[event.key];
            if (target === undefined) return;
            event.preventDefault();
            show(target);
          }}
        >
          {name === "match" && !isFound ? "Why not found?" : text}
        </button>
      ))}
    </div>
  );
}
