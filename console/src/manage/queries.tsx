// The saved queries of the collection.

import { useState } from "preact/hooks";
import type { SavedQuery } from "../api/document";
import { fragmentOf, go, place } from "../place";
import { messageOf } from "../query/state";
import { placeOf } from "../query/saved";
import { label, recordType } from "../schema";
import { allows } from "../session";
import { Dialog } from "../ui/dialog";
import { useLoaded } from "../ui/loading";
import { notify, notifyProblem } from "../ui/notices";
import { ProblemNote } from "../ui/problem";
import { usePages } from "./pages";
import { QueryForm } from "./saved/form";
import type { Start } from "./saved/form";
import { createQuery, defaultText, deleteQuery, draftOf, getQuery, listQueries } from "./saved/requests";
import "./manage.css";

export function Queries() {
  const type = recordType.value;
  const collection = type?.collection ?? "";
  const [builtIn, setBuiltIn] = useState<SavedQuery[]>([]);
  const pages = usePages(async (cursor, signal) => {
    const page = await listQueries(collection, cursor, signal);
    setBuiltIn(page.built_in);
    return { items: page.items, next: page.next_cursor };
  });
  if (!type) return null;
  const mayWrite = allows(`${collection}:write`);
  const { panel, record } = place.value;
  const queries = pages.items ? [...pages.items, ...(pages.hasMore ? [] : builtIn)] : [];
  const close = () => go({ panel: "", record: "" });
  const remove = async (query: SavedQuery) => {
    await deleteQuery(collection, query);
    pages.reload();
    notify(`Deleted the query ${query.name}`, async () => {
      await createQuery(collection, draftOf(query));
      pages.reload();
    });
  };
  return (
    <div class="manage">
      <div class="heading">
        <h1>Saved queries of {label(collection).toLowerCase()}</h1>
        {mayWrite && (
          <button type="button" class="primary" onClick={() => go({ panel: "new", record: "" })}>
            New query
          </button>
        )}
      </div>
      <ProblemNote failure={pages.failure}>
        <button type="button" onClick={pages.reload}>
          Try again
        </button>
      </ProblemNote>
      {!pages.items && pages.loading && <p class="quiet">Loading …</p>}
      {pages.items && queries.length === 0 && (
        <p>
          There are no saved queries. Search for records, then choose “Save query”. Scripts run saved queries by their names, and links
          to them stay short.
        </p>
      )}
      <ul class="cards" aria-label="Saved queries">
        {queries.map((query) => (
          <Query
            key={query.name}
            query={query}
            mayWrite={mayWrite}
            onDelete={() => void remove(query).catch(notifyProblem)}
          />
        ))}
      </ul>
      {pages.hasMore && (
        <button type="button" disabled={pages.loading} onClick={pages.more}>
          Show more
        </button>
      )}
      {mayWrite && ["new", "edit", "copy"].includes(panel) && (
        <Editor
          key={`${panel} ${record}`}
          collection={collection}
          name={record}
          isCopy={panel === "copy"}
          onSaved={({ name }) => {
            notify(`Saved the query ${name}`);
            pages.reload();
            close();
          }}
          onClose={close}
        />
      )}
    </div>
  );
}

interface QueryProps {
  query: SavedQuery;
  mayWrite: boolean;
  onDelete: () => void;
}

function Query({ query, mayWrite, onDelete }: QueryProps) {
  const { name, description, filter = "", order_by: orderBy = "", parameters, built_in: isBuiltIn, valid, diagnostics } = query;
  return (
    <li class="card">
      <div class="heading">
        <h2>
          {name} {isBuiltIn && <span class="tag">built in</span>}
          {!valid && <span class="tag warn">not valid</span>}
        </h2>
        <div class="actions">
          {valid && (
            <a class="button" href={fragmentOf(placeOf(query))} aria-label={`Run ${name}`}>
              Run
            </a>
          )}
          {mayWrite && !isBuiltIn && (
            <>
              <button type="button" aria-label={`Edit ${name}`} onClick={() => go({ panel: "edit", record: name })}>
                Edit
              </button>
              <button type="button" aria-label={`Delete ${name}`} onClick={onDelete}>
                Delete
              </button>
            </>
          )}
          {mayWrite && (
            <button type="button" aria-label={`Duplicate ${name}`} onClick={() => go({ panel: "copy", record: name })}>
              Duplicate
            </button>
          )}
        </div>
      </div>
      {description && <p>{description}</p>}
      <pre>{filter || "all records"}</pre>
      {orderBy && (
        <p class="quiet">
          Ordered by <code>{orderBy}</code>
        </p>
      )}
      {parameters.length > 0 && (
        <ul class="plain">
          {parameters.map((parameter) => (
            <li key={parameter.name}>
              <code>${parameter.name}</code> <span class="quiet">{parameter.type}</span> {parameter.description}
              {defaultText(parameter) && <span class="quiet"> (default: {defaultText(parameter)})</span>}
            </li>
          ))}
        </ul>
      )}
      {!valid && (
        <div class="warning">
          <p>The fields have changed. The query cannot be run until it is corrected:</p>
          {diagnostics.map((it) => (
            <p key={`${it.start} ${it.message}`}>{messageOf(it)}</p>
          ))}
        </div>
      )}
    </li>
  );
}

const EMPTY: Start = { name: "", description: "", filter: "", orderBy: "", descriptions: {}, defaults: {} };

interface EditorProps {
  collection: string;
  /** The query that is changed or copied; empty for a new one. */
  name: string;
  isCopy: boolean;
  onSaved: (query: SavedQuery) => void;
  onClose: () => void;
}

/** The dialog with the form. It shows the present version of the query, not that of the list. */
function Editor({ collection, name, isCopy, onSaved, onClose }: EditorProps) {
  const { value: query, failure, reload } = useLoaded(name || undefined, (signal) => getQuery(collection, name, signal));
  const common = { collection, onSaved, onClose };
  return (
    <Dialog title={!name ? "New query" : isCopy ? `Duplicate ${name}` : `Edit ${name}`} onClose={onClose}>
      <ProblemNote failure={failure}>
        <button type="button" onClick={reload}>
          Try again
        </button>
      </ProblemNote>
      {name && !query && !failure && <p class="quiet">Loading …</p>}
      {!name && <QueryForm {...common} start={EMPTY} />}
      {query && isCopy && <QueryForm {...common} start={{ ...startOf(query), name: `${name}-copy`.slice(0, 60) }} />}
      {query && !isCopy && <QueryForm {...common} key={query.version} start={startOf(query)} replaced={query} onReload={reload} />}
    </Dialog>
  );
}

function startOf({ name, description = "", filter = "", order_by: orderBy = "", parameters }: SavedQuery): Start {
  const descriptions = parameters.map((parameter) => [parameter.name, parameter.description ?? ""]);
  const defaults = parameters.map((parameter) => [parameter.name, defaultText(parameter)]);
  return { name, description, filter, orderBy, descriptions: Object.fromEntries(descriptions), defaults: Object.fromEntries(defaults) };
}
