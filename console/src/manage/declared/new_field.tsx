// A form for a new field, which produces the lines for the declaration.

import { useState } from "preact/hooks";
import type { FieldType, RecordType } from "../../api/document";
import { catalogue } from "../../schema";
import { ValueInput } from "../../ui/input";
import { Code } from "../code";
import { Labelled } from "../form";
import { EMPTY, faultsOf, fieldOf } from "./rules";
import type { FieldDraft } from "./rules";
import { fieldText } from "./toml";

const TYPES: [FieldType, string][] = [
  ["text", "text"],
  ["integer", "integer: also cents or tenths, as there are no decimals"],
  ["boolean", "boolean: true or false"],
  ["date", "date: a day"],
  ["timestamp", "timestamp: a day and a time"],
  ["id", "id: a UUID"],
];

export function NewField({ type }: { type: RecordType }) {
  const [draft, setDraft] = useState(EMPTY);
  const set = (change: Partial<FieldDraft>) => setDraft({ ...draft, ...change });
  const faults = faultsOf(draft, type, catalogue.value?.keywords ?? []);
  const isStarted = draft.name !== "";
  const fault = (member: keyof FieldDraft) => (isStarted ? faults[member] : undefined);
  const hasBounds = draft.type === "text" || draft.type === "integer";
  const words = draft.type === "text" ? ["Fewest characters", "Most characters"] : ["Least value", "Greatest value"];
  const isValid = Object.keys(faults).length === 0;
  return (
    <section aria-labelledby="new-field">
      <h2 id="new-field">Add a field</h2>
      <div class="fields">
        <Labelled label="Name of the field" hint="Such as running_time." problem={fault("name")}>
          {(attributes) => (
            <input
              {...attributes}
              class="code"
              autocomplete="off"
              autocapitalize="off"
              spellcheck={false}
              value={draft.name}
              onInput={(event) => set({ name: event.currentTarget.value.trim() })}
            />
          )}
        </Labelled>
        <Labelled label="Type">
          {(attributes) => (
            <select
              {...attributes}
              value={draft.type}
              onChange={(event) =>
                set({ type: event.currentTarget.value as FieldType, minimum: "", maximum: "", default: "", example: "" })
              }
            >
              {TYPES.map(([name, text]) => (
                <option key={name} value={name}>
                  {text}
                </option>
              ))}
            </select>
          )}
        </Labelled>
        {hasBounds && (
          <>
            <Labelled label={words[0] ?? ""} problem={fault("minimum")}>
              {(attributes) => (
                <input
                  {...attributes}
                  type="number"
                  placeholder={draft.type === "text" ? "1" : ""}
                  value={draft.minimum}
                  onInput={(event) => set({ minimum: event.currentTarget.value })}
                />
              )}
            </Labelled>
            <Labelled label={words[1] ?? ""} problem={fault("maximum")}>
              {(attributes) => (
                <input
                  {...attributes}
                  type="number"
                  placeholder={draft.type === "text" ? "500" : ""}
                  value={draft.maximum}
                  onInput={(event) => set({ maximum: event.currentTarget.value })}
                />
              )}
            </Labelled>
          </>
        )}
        <Labelled label="Default" hint="The value of a record that is created without one." problem={fault("default")}>
          {({ id, ...described }) => (
            <ValueInput
              id={id}
              type={draft.type}
              value={draft.default}
              invalid={described["aria-invalid"] === "true"}
              {...(described["aria-describedby"] ? { describedBy: described["aria-describedby"] } : {})}
              onValue={(value) => set({ default: value })}
            />
          )}
        </Labelled>
        <Labelled label="Example" hint="For the documentation of the API." problem={fault("example")}>
          {({ id, ...described }) => (
            <ValueInput
              id={id}
              type={draft.type}
              value={draft.example}
              invalid={described["aria-invalid"] === "true"}
              {...(described["aria-describedby"] ? { describedBy: described["aria-describedby"] } : {})}
              onValue={(value) => set({ example: value })}
            />
          )}
        </Labelled>
      </div>
      <Labelled label="Description" problem={fault("description")}>
        {(attributes) => (
          <input {...attributes} class="wide" value={draft.description} onInput={(event) => set({ description: event.currentTarget.value })} />
        )}
      </Labelled>
      <label class="check">
        <input type="checkbox" checked={draft.nullable} onChange={(event) => set({ nullable: event.currentTarget.checked })} />
        The value may be null
      </label>
      {draft.type === "text" && (
        <label class="check">
          <input type="checkbox" checked={draft.search} onChange={(event) => set({ search: event.currentTarget.checked })} />
          Filters may use contains, starts with and ends with
        </label>
      )}
      <h3>The lines for the declaration</h3>
      {isValid ? (
        <Code text={fieldText(fieldOf(draft))} name="the lines of the field" />
      ) : (
        <p class="quiet">{isStarted ? "Correct the fields above first." : "Enter a name to see the lines."}</p>
      )}
      <Steps collection={type.collection} />
    </section>
  );
}

/** Where the lines belong, and how they are applied. */
function Steps({ collection }: { collection: string }) {
  return (
    <>
      <h3>Apply them</h3>
      <ol>
        <li>
          Add the lines to the declaration of {collection} in the folder that <code>--records</code> (<code>CINEQUERY_RECORDS</code>)
          names. If the service runs without a folder, its record type is built in: write its file first.
          <Code text={`mkdir -p records\ncinequery records init ${collection} > records/${collection}.toml\n`} name="the command that writes the file" />
        </li>
        <li>
          Check the declaration, and see the steps of the migration.
          <Code text={"cinequery records check records\ncinequery migrate --plan --records records\n"} name="the commands that check the declaration" />
        </li>
        <li>
          Restart the service with <code>--records records</code>. It adds the field at start; existing records get the default, or null.
        </li>
      </ol>
    </>
  );
}
