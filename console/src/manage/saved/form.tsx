// The form of a saved query.

import { useEffect, useRef, useState } from "preact/hooks";
import { Failure } from "../../api/client";
import type { NamedParameter, QueryCheck, SavedQuery, SavedQueryDraft } from "../../api/document";
import { messageOf } from "../../query/state";
import { check } from "../../query/state";
import { ValueInput } from "../../ui/input";
import { useAction } from "../../ui/loading";
import { ProblemNote } from "../../ui/problem";
import { Labelled, problemAt, unlessShown } from "../form";
import { identifier } from "../identifier";
import { createQuery, defaultOf, getQuery, replaceQuery } from "./requests";

/** What the form starts with. */
export interface Start {
  name: string;
  description: string;
  filter: string;
  orderBy: string;
  /** By parameter. */
  descriptions: Record<string, string>;
  defaults: Record<string, string>;
}

/** The number of characters of a name. */
const MAX_NAME = 60;
const MEMBERS = ["name", "description", "order_by"];

interface QueryFormProps {
  collection: string;
  start: Start;
  /** The query that is changed; a new one is created without it. */
  replaced?: SavedQuery;
  onSaved: (query: SavedQuery) => void;
  /** Shows the present version of the query, for one that was changed meanwhile. */
  onReload?: () => void;
  onClose: () => void;
}

export function QueryForm({ collection, start, replaced, onSaved, onReload, onClose }: QueryFormProps) {
  const { busy, failure, run, clear } = useAction();
  const [values, setValues] = useState(start);
  const set = (change: Partial<Start>) => {
    clear();
    setValues({ ...values, ...change });
  };
  const checked = useCheck(values.filter);
  // The form may come after the dialog, when the query has been loaded: then it cannot get the focus by an attribute.
  const first = useRef<HTMLInputElement>(null);
  useEffect(() => first.current?.focus(), []);
  const name = nameOf(values);
  const parameters = checked?.parameters ?? [];
  const problems = checked?.diagnostics ?? [];

  const save = () =>
    run(async () => {
      const draft = draftFrom(values, parameters);
      const version = replaced?.version;
      const isNew = !replaced || version === undefined;
      onSaved(isNew ? await createQuery(collection, draft) : await replaceQuery(collection, replaced.name, version, draft));
    });
  const replaceOther = () =>
    run(async () => {
      const other = await getQuery(collection, name);
      if (other.version === undefined) throw new Failure({ detail: "a built-in query cannot be replaced; choose another name" });
      onSaved(await replaceQuery(collection, other.name, other.version, draftFrom(values, parameters)));
    });

  return (
    <form
      class="saved"
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      <Labelled
        label="Name"
        hint={
          name ? (
            <>
              Links and scripts have it as <code>{name}</code>.
            </>
          ) : (
            "Such as Expiring soon."
          )
        }
        problem={problemAt(failure, "name") ?? (values.name.trim() && !name ? "expected letters from a to z or digits" : undefined)}
      >
        {(attributes) => (
          <input
            {...attributes}
            ref={first}
            required
            maxLength={MAX_NAME}
            value={values.name}
            onInput={(event) => set({ name: event.currentTarget.value })}
          />
        )}
      </Labelled>
      <Labelled label="Description" problem={problemAt(failure, "description")}>
        {(attributes) => (
          <input {...attributes} maxLength={500} value={values.description} onInput={(event) => set({ description: event.currentTarget.value })} />
        )}
      </Labelled>
      <Labelled label="Filter" hint="Without a filter, all records match. $name is a parameter." problem={problems[0] && messageOf(problems[0])}>
        {(attributes) => (
          <textarea
            {...attributes}
            class="code"
            rows={3}
            spellcheck={false}
            value={values.filter}
            onInput={(event) => set({ filter: event.currentTarget.value })}
          />
        )}
      </Labelled>
      <Labelled label="Order" hint="Fields, such as release_year desc. Without one: by creation." problem={problemAt(failure, "order_by")}>
        {(attributes) => (
          <input {...attributes} class="code" spellcheck={false} value={values.orderBy} onInput={(event) => set({ orderBy: event.currentTarget.value })} />
        )}
      </Labelled>
      {parameters.length > 0 && (
        <fieldset>
          <legend>Parameters</legend>
          {parameters.map(({ name, type }) => (
            <div class="pair" key={name}>
              <Labelled label={`Description of $${name}`}>
                {(attributes) => (
                  <input
                    {...attributes}
                    maxLength={500}
                    value={values.descriptions[name] ?? ""}
                    onInput={(event) => set({ descriptions: { ...values.descriptions, [name]: event.currentTarget.value } })}
                  />
                )}
              </Labelled>
              <Labelled label={`Default of $${name}`}>
                {({ id }) => (
                  <ValueInput
                    id={id}
                    type={type}
                    value={values.defaults[name] ?? ""}
                    onValue={(value) => set({ defaults: { ...values.defaults, [name]: value } })}
                  />
                )}
              </Labelled>
            </div>
          ))}
        </fieldset>
      )}
      <ProblemNote failure={unlessShown(failure, MEMBERS)}>
        {failure?.code === "duplicate" && (
          <button type="button" onClick={() => void replaceOther()}>
            Replace it
          </button>
        )}
        {failure?.code === "precondition_failed" && onReload && (
          <button type="button" onClick={onReload}>
            Discard my changes and show it
          </button>
        )}
      </ProblemNote>
      <div class="actions">
        <button type="button" onClick={onClose}>
          Cancel
        </button>
        <button class="primary" disabled={busy || problems.length > 0 || (values.name !== "" && !name)}>
          Save
        </button>
      </div>
    </form>
  );
}

/** What the service says about a filter while it is typed. */
function useCheck(filter: string): QueryCheck | undefined {
  const [checked, setChecked] = useState<QueryCheck>();
  useEffect(() => {
    const controller = new AbortController();
    const timer = setTimeout(() => {
      // The service checks again when the query is saved, and the form shows that failure.
      check(filter, controller.signal).then(setChecked, () => undefined);
    }, 150);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [filter]);
  return checked;
}

/** The typed name in the form that the service accepts. */
function nameOf({ name }: Start): string {
  return identifier(name, "-").slice(0, MAX_NAME).replace(/-$/, "");
}

function draftFrom(values: Start, parameters: NamedParameter[]): SavedQueryDraft {
  const { description, filter, orderBy } = values;
  return {
    name: nameOf(values),
    ...(description.trim() ? { description: description.trim() } : {}),
    ...(filter.trim() ? { filter: filter.trim() } : {}),
    ...(orderBy.trim() ? { order_by: orderBy.trim() } : {}),
    parameters: parameters.map(({ name, type }) => {
      const text = values.descriptions[name]?.trim();
      const value = defaultOf(type, values.defaults[name] ?? "");
      return { name, ...(text ? { description: text } : {}), ...(value === undefined ? {} : { default: value }) };
    }),
  };
}
