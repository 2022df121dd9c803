import { applied } from "../query/state";
import { go, place } from "../place";
import { FindMissing } from "../record/missing";
import { columnsOf, count, label, recordType } from "../schema";
import { allows } from "../session";
import { Menu } from "../ui/menu";
import { SaveQuery } from "../manage/saved/save";
import { chooseColumns, rememberedColumns } from "./columns";
import { copies } from "./copies";
import { rows } from "./state";
import { notify, notifyProblem } from "../ui/notices";

/** The total, and what can be done with all records that are shown. */
export function Toolbar() {
  const type = recordType.value;
  const current = rows.value;
  if (!type || !current) return null;
  current.changes.value;
  const { total } = current;
  return (
    <div class="toolbar">
      <p class="total" aria-live="polite">
        {total === undefined ? "" : `${count(total)} ${total === 1 ? "record" : "records"}`}
      </p>
      <span class="spring" />
      <FindMissing />
      <Columns />
      <Copies />
      <button type="button" aria-pressed={place.value.panel === "explain"} onClick={() => toggle("explain")}>
        Explain
      </button>
      <SaveQuery />
      <button type="button" onClick={() => go({ panel: "export" })}>
        Export
      </button>
      {allows(`${type.collection}:write`) && (
        <button type="button" class="primary" onClick={() => go({ record: "new", panel: "" })}>
          New record
        </button>
      )}
    </div>
  );
}

function toggle(panel: string): void {
  go({ panel: place.peek().panel === panel ? "" : panel });
}

/** The choice and the order of the columns. */
function Columns() {
  const type = recordType.value;
  if (!type) return null;
  const chosen = columnsOf(type, place.value.columns).map(({ name }) => name);
  const others = type.fields.map(({ name }) => name).filter((name) => !chosen.includes(name));
  const isDefault = place.value.columns.length === 0 && rememberedColumns(type.collection).length === 0;
  const set = (columns: string[]) => chooseColumns(type.collection, columns);
  const move = (name: string) => {
    const at = chosen.indexOf(name);
    const next = chosen.toSpliced(at, 1);
    set(next.toSpliced(at - 1, 0, name));
  };
  return (
    <Menu label="Columns">
      {chosen.map((name, index) => (
        <div class="choice" key={name}>
          <label>
            <input
              type="checkbox"
              checked
              disabled={chosen.length === 1}
              onChange={() => set(chosen.filter((other) => other !== name))}
            />
            {label(name)}
          </label>
          <button type="button" class="icon" disabled={index === 0} aria-label={`Move ${label(name)} to the left`} onClick={() => move(name)}>
            ↑
          </button>
        </div>
      ))}
      {others.map((name) => (
        <div class="choice" key={name}>
          <label>
            <input type="checkbox" checked={false} onChange={() => set([...chosen, name])} />
            {label(name)}
          </label>
        </div>
      ))}
      <button type="button" disabled={isDefault} onClick={() => set([])}>
        Default columns
      </button>
    </Menu>
  );
}

/** The search as a program would send it. */
function Copies() {
  const search = applied.value;
  if (!search) return null;
  return (
    <Menu label="Copy as">
      {copies(search).map(({ name, text }) => (
        <button
          type="button"
          key={name}
          onClick={() => {
            navigator.clipboard.writeText(text).then(() => notify(`Copied as ${name}`), notifyProblem);
          }}
        >
          {name}
        </button>
      ))}
    </Menu>
  );
}
