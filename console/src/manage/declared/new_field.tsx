// A form for a new field, which produces the lines for the declaration.

import { useState } from "preact/hooks";
import type { FieldType, RecordType } from "../../api/document";
import { catalogue } from "../../schema";
import { ValueInput } from "../../ui/input";
import { Code, copy } from "../code";
import { Labelled } from "../form";
import { EMPTY, faultsOf, fieldName, fieldOf } from "./rules";
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
  const [label, setLabel] = useState("");
  const keywords = catalogue.value?.keywords ?? [];
  const faults = faultsOf(draft, type, keywords);
  const isStarted = draft.name !== "" || label.trim() !== "";
  const fault = (member: keyof FieldDraft) => (isStarted ? faults[member] : undefined);
  const hasBounds = draft.type === "text" || draft.type === "integer";
  const words = draft.type === "text" ? ["Fewest characters", "Most characters"] : ["Least value", "Greatest value"];
  const lines = Object.keys(faults).length === 0 ? fieldText(fieldOf(draft)) : undefined;
  return (
    <section aria-labelledby="new-field">
      <h2 id="new-field">Add a field</h2>
      <div class="fields">
        <Labelled label="Label" hint="Such as Last screened.">
          {(attributes) => (
            <input
              {...attributes}
              autocomplete="off"
              value={label}
              onInput={(event) => {
                const { value } = event.currentTarget;
                setLabel(value);
                // A name that was typed stays.
                if (draft.name === fieldName(label, keywords)) set({ name: fieldName(value, keywords) });
              }}
            />
          )}
        </Labelled>
        <Labelled label="Name of the field" hint="In filters and files. It is made of the label, and you can change it." problem={fault("name")}>
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
      {lines ? (
        <Code text={lines} name="the lines of the field" />
      ) : (
        <p class="quiet">{isStarted ? "Correct the fields above first." : "Enter a label to see the lines."}</p>
      )}
      <h3>Apply them</h3>
      <p>An operator, who has access to the files and the command line of the service, applies the lines.</p>
      <p>
        <button type="button" disabled={!lines} onClick={() => copy(messageFor(type, lines ?? ""), "the message for the operator")}>
          Copy for the operator
        </button>
      </p>
      <ol>
        {stepsFor(type).map(({ text, commands, name }) => (
          <li key={text}>
            {text}
            {commands && <Code text={commands} name={name} />}
          </li>
        ))}
      </ol>
    </section>
  );
}

interface Step {
  text: string;
  commands?: string;
  /** What the commands are. */
  name: string;
}

/** The collection whose record type a service without declarations has. */
const BUILT_IN = "movies";

/** Where the lines belong, and how they are applied. */
function stepsFor({ collection }: RecordType): Step[] {
  const file = `records/${collection}.toml`;
  const initial: Step = {
    text: "Only if the service runs without --records (CINEQUERY_RECORDS): write the file of its built-in record type. A file that exists stays as it is.",
    commands: `mkdir -p records\ntest -e ${file} || cinequery records init ${collection} > ${file}\n`,
    name: "the commands that write the file",
  };
  return [
    ...(collection === BUILT_IN ? [initial] : []),
    {
      text: `Add the lines to the declaration of ${collection} in the folder that --records names. Here it is the folder records.`,
      name: "",
    },
    {
      text: "Check the declaration, and see the steps of the migration.",
      commands: "cinequery records check records\ncinequery migrate --plan --records records\n",
      name: "the commands that check the declaration",
    },
    {
      text: "Restart the service with --records records. It adds the field at start; existing records get the default, or null.",
      name: "",
    },
  ];
}

/** The lines with all steps, for the operator. */
function messageFor(type: RecordType, lines: string): string {
  const indented = (commands: string) => commands.replace(/^(?=.)/gm, "   ");
  const steps = stepsFor(type).map(({ text, commands }, index) => `${index + 1}. ${text}\n${commands ? `\n${indented(commands)}\n` : ""}`);
  return `Please add this field to the record type ${type.name} (${type.collection}) of cinequery:\n\n${lines}\n${steps.join("")}`;
}
