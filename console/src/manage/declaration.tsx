// The record type: its fields, keys and example searches, and the lines for a new field.

import type { FieldSchema, RecordType } from "../api/document";
import { elsewhere, fragmentOf } from "../place";
import { loadCatalogue, recordType } from "../schema";
import { allows } from "../session";
import { useLoaded } from "../ui/loading";
import { ProblemNote } from "../ui/problem";
import { Code } from "./code";
import { NewField } from "./declared/new_field";
import { MANAGED, declarationText } from "./declared/toml";
import "./manage.css";

export function Declaration() {
  const type = recordType.value;
  // The service may have been started again with another declaration since the page was loaded.
  const { failure, reload } = useLoaded("schema", loadCatalogue);
  if (!type) return null;
  const others = type.unique.slice(1);
  return (
    <div class="manage">
      <h1>
        {type.name} <span class="quiet">in {type.collection}</span>
      </h1>
      {type.description && <p>{type.description}</p>}
      <ProblemNote failure={failure}>
        <button type="button" onClick={reload}>
          Try again
        </button>
      </ProblemNote>
      <dl class="facts">
        <dt>Natural key</dt>
        <dd>
          {type.natural_key.length > 0 ? (
            <>
              <Names names={type.natural_key} />{" "}
              <span class="quiet">These values identify a record: no two have the same. Imports find existing records by them.</span>
            </>
          ) : (
            "none: imports cannot find existing records"
          )}
        </dd>
        {others.length > 0 && (
          <>
            <dt>Other unique keys</dt>
            <dd>
              {others.map((names) => (
                <div key={names.join()}>
                  <Names names={names} />
                </div>
              ))}
              <span class="quiet">No two records have the same values in them.</span>
            </dd>
          </>
        )}
      </dl>
      <Fields type={type} />
      <Searches type={type} />
      {allows("admin") ? (
        <NewField type={type} />
      ) : (
        <section aria-labelledby="changing">
          <h2 id="changing">Changing the record type</h2>
          <p>
            The record type is declared in a file of the service. An operator adds a field to that file and restarts the service; the
            manual has <a href="docs/guide">the steps</a>.
          </p>
        </section>
      )}
      <section aria-labelledby="whole">
        <h2 id="whole">The declaration</h2>
        <p>
          Rebuilt from what the service reports. It does not report <code>indexes</code>, <code>trigram</code>,{" "}
          <code>renamed_from</code> and <code>journal</code>: add them if you replace the file of the service.
        </p>
        <details>
          <summary>Show {type.collection}.toml</summary>
          <Code text={declarationText(type)} name="the declaration" />
        </details>
      </section>
    </div>
  );
}

function Names({ names }: { names: string[] }) {
  return <code>{names.join(", ")}</code>;
}

function Fields({ type }: { type: RecordType }) {
  return (
    <section aria-labelledby="fields">
      <h2 id="fields">Fields</h2>
      <p class="quiet">Operators of filters are the comparisons that a search can make with the values, such as = or contains.</p>
      <div class="scroll" role="group" aria-labelledby="fields" tabIndex={0}>
        <table class="list broad">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Type</th>
              <th scope="col">Value</th>
              <th scope="col">Limits</th>
              <th scope="col">Description</th>
              <th scope="col">Operators of filters</th>
            </tr>
          </thead>
          <tbody>
            {type.fields.map((field) => (
              <tr key={field.name}>
                <th scope="row">
                  <code>{field.name}</code>
                </th>
                <td>{field.type}</td>
                <td>{necessity(field)}</td>
                <td>{limits(field)}</td>
                <td class="text">
                  {field.description}
                  {field.example !== undefined && <span class="quiet"> Example: {String(field.example)}</span>}
                </td>
                <td class="operators">
                  <code>{field.operators.join("  ")}</code>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

/** Whether a record needs a value of a field, and who sets it. */
function necessity({ name, writable, required, nullable, default: value }: FieldSchema): string {
  if (MANAGED.includes(name)) return "set by the service";
  const parts = [
    required ? "required" : nullable ? "may be null" : "optional",
    value !== undefined && value !== null && `default ${String(value)}`,
    !writable && "read-only",
  ];
  return parts.filter(Boolean).join(", ");
}

function limits({ type, minimum, maximum, min_length, max_length }: FieldSchema): string {
  if (type === "text" && max_length !== undefined) return `${min_length ?? 0} to ${max_length} characters`;
  if (type === "integer" && (minimum !== undefined || maximum !== undefined)) return `${minimum ?? "…"} to ${maximum ?? "…"}`;
  return "";
}

function Searches({ type }: { type: RecordType }) {
  if (type.searches.length === 0) return null;
  return (
    <section aria-labelledby="searches">
      <h2 id="searches">Example searches</h2>
      <ul class="plain">
        {type.searches.map(({ name, description, filter }) => (
          <li key={name}>
            {description}{" "}
            <a href={fragmentOf({ ...elsewhere("records"), filter })}>
              <code>{filter}</code>
            </a>
          </li>
        ))}
      </ul>
    </section>
  );
}
