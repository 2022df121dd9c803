// The editor of filters: CodeMirror in a shadow root. There it uses constructed style sheets, which the strict content
// security policy allows; in the document it would insert a style element.

import {
  acceptCompletion,
  autocompletion,
  closeBrackets,
  closeBracketsKeymap,
  completionStatus,
  selectedCompletionIndex,
  setSelectedCompletion,
  startCompletion,
} from "@codemirror/autocomplete";
import type { Completion, CompletionContext, CompletionResult } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { lintKeymap, setDiagnostics } from "@codemirror/lint";
import { Annotation, EditorState } from "@codemirror/state";
import { Decoration, EditorView, MatchDecorator, ViewPlugin, drawSelection, keymap, placeholder } from "@codemirror/view";
import type { DecorationSet, ViewUpdate } from "@codemirror/view";
import { json } from "../api/client";
import type { Candidate, Completion as Completed, Diagnostic, SavedQuery } from "../api/document";
import { go } from "../place";
import { catalogue, recordType } from "../schema";
import { placeOf, savedQueries } from "./saved";
import { amend, draft, messageOf, run } from "./state";

/** Marks changes that come from outside the editor. */
const external = Annotation.define<true>();

const TOKEN = /"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|\$\w+|-?\d[\w.:+-]*|[\p{L}_][\w\p{L}]*|[=!<>]+/gu;

function kindOf(token: string): string | undefined {
  const first = token.charAt(0);
  if (first === '"' || first === "'") return "text";
  if (first === "$") return "parameter";
  if (/[-\d]/.test(first)) return "number";
  if (/[=!<>]/.test(first)) return "operator";
  if (catalogue.peek()?.keywords.includes(token.toLowerCase())) return "keyword";
  if (recordType.peek()?.fields.some((field) => field.name === token)) return "field";
  return undefined;
}

const marks = new MatchDecorator({
  regexp: TOKEN,
  decoration: ([token]) => {
    const kind = kindOf(token);
    return kind ? Decoration.mark({ class: `token-${kind}` }) : null;
  },
});

const highlighting = ViewPlugin.fromClass(
  class {
    decorations: DecorationSet;
    constructor(view: EditorView) {
      this.decorations = marks.createDeco(view);
    }
    update(update: ViewUpdate) {
      this.decorations = marks.updateDeco(update, this.decorations);
    }
  },
  { decorations: (plugin) => plugin.decorations },
);

/** The icons of CodeMirror for our kinds of candidates. */
const TYPES: Partial<Record<Candidate["kind"], string>> = { field: "property", value: "constant", keyword: "keyword" };

async function candidates(context: CompletionContext): Promise<CompletionResult | null> {
  const filter = context.state.doc.toString();
  const collection = recordType.peek()?.collection ?? "";
  const abort = new AbortController();
  context.addEventListener("abort", () => abort.abort());
  try {
    const query = { filter, caret: context.pos, collection, position_encoding: "utf-16" };
    // `caret` has to be sent also if it is 0, and the filter if it is empty.
    const [completed, saved] = await Promise.all([
      json<Completed>(`api/v1/query/complete?filter=${encodeURIComponent(filter)}`, {
        query: { ...query, filter: undefined },
        signal: abort.signal,
      }),
      savedQueries(collection, filter, abort.signal).catch(() => []),
    ]);
    const options = [...completed.candidates.map(option), ...saved.map(savedOption)];
    return { from: completed.start, to: completed.end, options, filter: false };
  } catch {
    // Completion is a convenience: problems of the text are reported by the check.
    return null;
  }
}

/** An option that inserts the candidate and a space, and offers what comes next. */
function option({ text, kind, detail }: Candidate, index: number): Completion {
  return {
    label: text,
    // The service sorts them: values by frequency.
    boost: -index,
    ...(detail ? { detail } : {}),
    ...(TYPES[kind] ? { type: TYPES[kind] } : {}),
    apply(view, _, from, to) {
      const follows = view.state.sliceDoc(to, to + 1);
      const insert = follows === " " || text.endsWith("(") ? text : `${text} `;
      view.dispatch({ changes: { from, to, insert }, selection: { anchor: from + insert.length }, userEvent: "input.complete" });
      setTimeout(() => startCompletion(view));
    },
  };
}

/** An option that shows what a saved query finds. */
function savedOption(query: SavedQuery): Completion {
  return {
    label: query.name,
    boost: -99,
    detail: "saved query",
    ...(query.description ? { info: query.description } : {}),
    apply: () => go(placeOf(query)),
  };
}

function takeCandidate(view: EditorView): boolean {
  if (completionStatus(view.state) !== "active") return false;
  if (selectedCompletionIndex(view.state) === null) view.dispatch({ effects: setSelectedCompletion(0) });
  return acceptCompletion(view);
}

const theme = EditorView.theme({
  "&": { fontSize: "15px", color: "var(--text)", backgroundColor: "var(--surface)", borderRadius: "8px" },
  // Its element on the page has the outline, as it also has a button.
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.6", maxHeight: "12em", overflow: "auto" },
  ".cm-content": { padding: "9px 4px", caretColor: "var(--text)", minHeight: "24px", minWidth: "0" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  ".cm-placeholder": { color: "var(--quiet)", maxWidth: "100%", overflow: "hidden", textOverflow: "ellipsis", whiteSpace: "nowrap" },
  "&.cm-focused .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "var(--selection) !important" },
  ".token-keyword": { color: "var(--keyword)", fontWeight: "600" },
  ".token-operator": { color: "var(--keyword)" },
  ".token-field": { color: "var(--field)" },
  ".token-text": { color: "var(--string)" },
  ".token-number": { color: "var(--number)" },
  ".token-parameter": { color: "var(--parameter)", fontWeight: "600" },
  ".cm-tooltip": { backgroundColor: "var(--raised)", border: "1px solid var(--line)", borderRadius: "8px", color: "var(--text)", zIndex: "20" },
  ".cm-tooltip-autocomplete > ul": { fontFamily: "var(--mono)", maxHeight: "18em" },
  ".cm-tooltip-autocomplete > ul > li[aria-selected]": { backgroundColor: "var(--accent)", color: "var(--on-accent)" },
  ".cm-completionDetail": { color: "inherit", opacity: "0.8" },
  ".cm-diagnostic-error": { borderLeftColor: "var(--danger)" },
  ".cm-lintRange-error": {
    backgroundImage: "none",
    textDecoration: "underline wavy var(--danger)",
    textDecorationSkipInk: "none",
    textUnderlineOffset: "4px",
  },
  ".cm-lintRange-warning": { backgroundImage: "none", textDecoration: "underline wavy var(--warning)" },
});

export interface Editor {
  view: EditorView;
  destroy(): void;
  focus(): void;
  setText(text: string): void;
  showProblems(problems: Diagnostic[], warnings: Diagnostic[]): void;
}

/** Creates the editor in an element without content. */
export function createEditor(host: HTMLElement, text: string): Editor {
  const root = host.shadowRoot ?? host.attachShadow({ mode: "open", delegatesFocus: true });
  const parent = document.createElement("div");
  root.replaceChildren(parent);
  const example = recordType.peek()?.searches[0]?.filter;
  const view = new EditorView({
    parent,
    root,
    state: EditorState.create({
      doc: text,
      extensions: [
        keymap.of([{ key: "Enter", run: () => (run(), true) }]),
        history(),
        drawSelection(),
        closeBrackets(),
        // Nothing is selected at first: Enter runs the filter, and Tab takes the first candidate.
        autocompletion({ override: [candidates], selectOnOpen: false, interactionDelay: 0, icons: false }),
        keymap.of([{ key: "Tab", run: takeCandidate }]),
        keymap.of([...closeBracketsKeymap, ...historyKeymap, ...lintKeymap, ...defaultKeymap]),
        placeholder(`Filter${example ? `, such as  ${example}` : ""}`),
        highlighting,
        EditorView.lineWrapping,
        EditorView.contentAttributes.of({ "aria-label": "Filter", spellcheck: "false", autocapitalize: "off" }),
        EditorView.updateListener.of((update) => {
          const isOurs = update.transactions.some((transaction) => transaction.annotation(external));
          if (update.docChanged && !isOurs) draft.value = update.state.doc.toString();
        }),
        theme,
      ],
    }),
  });
  return {
    view,
    destroy: () => view.destroy(),
    focus: () => view.focus(),
    setText(next) {
      const before = view.state.doc.toString();
      if (before === next) return;
      const changes = { from: 0, to: before.length, insert: next };
      view.dispatch({ changes, selection: { anchor: next.length }, annotations: external.of(true) });
    },
    showProblems(problems, warnings) {
      const length = view.state.doc.length;
      const shown = [...problems, ...warnings].map((it) => ({
        from: Math.min(it.start, length),
        to: Math.min(Math.max(it.end, it.start + 1), length),
        severity: problems.includes(it) ? ("error" as const) : ("warning" as const),
        message: messageOf(it),
        actions: it.suggestion ? [{ name: "Apply", apply: () => it.suggestion && amend(it.suggestion) }] : [],
      }));
      view.dispatch(setDiagnostics(view.state, shown));
    },
  };
}
