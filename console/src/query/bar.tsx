// The query bar: the filter, its problems, its parameters, and its history.

import { effect } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Diagnostic, FieldSchema } from "../api/document";
import { go, place, typed } from "../place";
import { label, recordType } from "../schema";
import { quoted } from "./clauses";
import { apply, amend, amendAll, checkFailure, checked, diagnostics, draft, messageOf, missing, parameters, remembered, run, warnings } from "./state";
import { ValueInput } from "../ui/input";
import { firstRows } from "../results/state";
import { Menu } from "../ui/menu";
import { notifyProblem } from "../ui/notices";

export function QueryBar() {
  return (
    <section class="query" aria-label="Query">
      <div class="bar">
        <FilterEditor />
        <button type="button" class="primary" onClick={run}>
          Search
        </button>
        <PastFilters />
      </div>
      <Examples />
      <Parameters />
      <Problems />
    </section>
  );
}

/** How long the editor waits for the first rows at most, in milliseconds. */
const LATEST = 500;

type CreateEditor = typeof import("./editor").createEditor;
type Editor = import("./editor").Editor;

function FilterEditor() {
  const host = useRef<HTMLDivElement>(null);
  const started = useRef<Editor | null>(null);
  const [createEditor, setCreateEditor] = useState<CreateEditor>();
  useEffect(() => {
    // Starting the editor takes longer than drawing the first rows.
    const isTime = Promise.race([firstRows, new Promise((done) => setTimeout(done, LATEST))]);
    void isTime.then(() => import("./editor")).then((it) => setCreateEditor(() => it.createEditor));
  }, []);
  useEffect(() => {
    const element = host.current;
    if (!element || !createEditor) return;
    const editor = createEditor(element, draft.peek());
    started.current = editor;
    // Not with the next rendering: by then the user may have typed on.
    const stops = [
      effect(() => editor.setText(draft.value)),
      effect(() => {
        const [problems, remarks] = [diagnostics.value, warnings.value];
        queueMicrotask(() => editor.showProblems(problems, remarks));
      }),
    ];
    return () => {
      for (const stop of stops) stop();
      editor.destroy();
    };
  }, [createEditor]);
  // The text is seen until the editor takes the place of what is in its element.
  return (
    <div class="editor">
      <div ref={host}>
        <code>{draft.peek()}</code>
      </div>
      {(draft.value || place.value.filter) && (
        <button
          type="button"
          class="icon"
          aria-label="Clear the filter"
          title="Clear the filter"
          onClick={() => {
            // The button is about to disappear.
            started.current?.focus();
            apply("");
          }}
        >
          ✕
        </button>
      )}
    </div>
  );
}

/** What is wrong with the filter, and the corrections that the service has verified. */
function Problems() {
  const found = diagnostics.value;
  const remarks = warnings.value;
  const failure = checkFailure.value;
  const corrected = found.filter((it) => it.suggestion).length;
  return (
    <div class="problems" aria-live="polite">
      {failure && <p class="problem">{failure.message}</p>}
      {found.map((it) => (
        <Remark key={`${it.start} ${it.message}`} kind="problem" diagnostic={it} />
      ))}
      {corrected > 1 && (
        <button type="button" onClick={() => void amendAll().catch(notifyProblem)}>
          Apply all
        </button>
      )}
      <AsWords />
      {remarks.map((it) => (
        <Remark key={`${it.start} ${it.message}`} kind="warning" diagnostic={it} />
      ))}
    </div>
  );
}

/** A problem or a warning, with its correction. */
function Remark({ kind, diagnostic }: { kind: "problem" | "warning"; diagnostic: Diagnostic }) {
  const { suggestion } = diagnostic;
  return (
    <p class={kind}>
      <span>{messageOf(diagnostic)}</span>
      {suggestion && (
        <button type="button" onClick={() => amend(suggestion)}>
          Apply
        </button>
      )}
    </p>
  );
}

/** What people type who do not know that this is a filter: words without an operator. */
const WORDS = /^[^=<>!()$]+$/;

/** Offers to search for the words that were typed in the texts of the records. */
function AsWords() {
  const words = draft.value.trim().replace(/^["']|["']$/g, "");
  const texts = recordType.value?.fields.filter((field) => field.writable && field.type === "text") ?? [];
  if (diagnostics.value.length === 0 || !WORDS.test(words)) return null;
  const condition = ({ name }: FieldSchema) => `${name} contains ${quoted(words)}`;
  return (
    <div class="examples words">
      <span class="quiet">Search for “{words}” in</span>
      {texts.length > 1 && (
        <button type="button" onClick={() => apply(texts.map(condition).join(" or "))}>
          all texts
        </button>
      )}
      {texts.map((field) => (
        <button type="button" key={field.name} onClick={() => apply(condition(field))}>
          {label(field.name)}
        </button>
      ))}
    </div>
  );
}

/** Inputs for the `$parameters` of the filter. */
function Parameters() {
  const known = parameters.value;
  const values = place.value.parameters;
  if (known.length === 0) return null;
  const set = (name: string, value: string) => {
    const others = Object.fromEntries(Object.entries(place.peek().parameters).filter(([key]) => key !== name));
    go({ filter: draft.peek(), parameters: value ? { ...others, [name]: value } : others }, { replace: true });
  };
  return (
    <div class="parameters">
      {known.map(({ name, type }) => (
        <label key={name}>
          ${name}
          <ValueInput type={type} value={typed(values, name)} onValue={(value) => set(name, value)} />
        </label>
      ))}
      {missing.value.length > 0 && <span class="quiet">Enter the values to search.</span>}
    </div>
  );
}

/** The number of examples that are offered while there is no filter. */
const MAX_EXAMPLES = 3;

/** A way to start: examples of the record type, until there is a filter. */
function Examples() {
  const examples = recordType.value?.searches.slice(0, MAX_EXAMPLES) ?? [];
  if (draft.value || place.value.filter || examples.length === 0) return null;
  return (
    <div class="examples">
      <span class="quiet">Try</span>
      {examples.map(({ name, description, filter }) => (
        <button type="button" key={name} title={filter} onClick={() => apply(filter)}>
          {description.replace(/\.$/, "")}
        </button>
      ))}
    </div>
  );
}

/** The filters that were run, the canonical form, and the examples of the record type. */
function PastFilters() {
  const type = recordType.value;
  if (!type) return null;
  const canonical = checked.value?.result.canonical.filter;
  const past = remembered(type.collection, place.value.filter).slice(0, 10);
  return (
    <Menu label="▾" title="History and examples">
      <button
        type="button"
        disabled={!canonical || canonical === draft.value}
        onClick={() => (draft.value = canonical ?? "")}
      >
        Write in canonical form
      </button>
      {past.length > 0 && <h3>Recent</h3>}
      {past.map((filter) => (
        <button type="button" class="code" key={filter} onClick={() => apply(filter)}>
          {filter}
        </button>
      ))}
      {type.searches.length > 0 && <h3>Examples</h3>}
      {type.searches.map(({ name, description, filter }) => (
        <button type="button" key={name} onClick={() => apply(filter)}>
          {description}
          <code>{filter}</code>
        </button>
      ))}
    </Menu>
  );
}
