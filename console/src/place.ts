// Where the user is: everything that a reload, a bookmark or a link restores. It is in the fragment of the URL, which
// browsers do not send to any server.

import { batch, computed, signal } from "@preact/signals";

/** The views. `records` is the first one. */
export const VIEWS = ["records", "import", "queries", "declaration", "users", "usage", "account"] as const;
export type View = (typeof VIEWS)[number];

export interface Place {
  /** The name of the collection in URLs; empty for the first one. */
  collection: string;
  view: View;
  /** The filter that was applied, which may have `$parameters`. */
  filter: string;
  orderBy: string;
  /** The chosen columns, in order; empty for the default. */
  columns: string[];
  /** The id of the record that is open; `new` for the form of a new one. */
  record: string;
  /** The part of the open record or of the results that is shown, such as `history` or `explain`. */
  panel: string;
  /** The values of `$parameters`, as typed. */
  parameters: Record<string, string>;
}

const NOWHERE: Place = {
  collection: "",
  view: "records",
  filter: "",
  orderBy: "",
  columns: [],
  record: "",
  panel: "",
  parameters: {},
};

function parse(fragment: string): Place {
  const [path = "", query = ""] = fragment.replace(/^#\/?/, "").split(/\?(.*)/s);
  const values = new URLSearchParams(query);
  const view = VIEWS.find((name) => name === values.get("view")) ?? "records";
  const parameters: Record<string, string> = {};
  for (const [name, value] of values) if (name.startsWith("$")) parameters[name.slice(1)] = value;
  return {
    collection: decoded(path),
    view,
    filter: values.get("filter") ?? "",
    orderBy: values.get("order_by") ?? "",
    columns: values.get("fields")?.split(",").filter(Boolean) ?? [],
    record: values.get("record") ?? "",
    panel: values.get("panel") ?? "",
    parameters,
  };
}

/** The value of a parameter as typed; empty if there is none. A parameter can be named like a property of every object. */
export function typed(parameters: Place["parameters"], name: string): string {
  return Object.hasOwn(parameters, name) ? (parameters[name] ?? "") : "";
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A malformed link names a collection that does not exist.
    return text;
  }
}

/** Returns the fragment of a place, for links. */
export function fragmentOf(change: Partial<Place>): string {
  const target = { ...place.peek(), ...change };
  const values = new URLSearchParams();
  if (target.view !== "records") values.set("view", target.view);
  if (target.filter) values.set("filter", target.filter);
  for (const [name, value] of Object.entries(target.parameters)) values.set(`$${name}`, value);
  if (target.orderBy) values.set("order_by", target.orderBy);
  if (target.columns.length > 0) values.set("fields", target.columns.join(","));
  if (target.record) values.set("record", target.record);
  if (target.panel) values.set("panel", target.panel);
  const query = values.toString();
  return `#/${encodeURIComponent(target.collection)}${query && `?${query}`}`;
}

export const place = signal<Place>(parse(location.hash));

/** The parts of the place that decide which records are shown. */
export const search = computed(() => {
  const { collection, filter, orderBy, parameters } = place.value;
  return { collection, filter, orderBy, parameters };
});

/** Goes to a place. `replace` keeps the previous one out of the history of the browser. */
export function go(change: Partial<Place>, { replace = false } = {}): void {
  const fragment = fragmentOf(change);
  if (fragment === location.hash) return;
  history[replace ? "replaceState" : "pushState"](null, "", fragment);
  batch(() => (place.value = { ...place.peek(), ...change }));
}

addEventListener("hashchange", () => (place.value = parse(location.hash)));
addEventListener("popstate", () => (place.value = parse(location.hash)));

/** Leaves the place but keeps the collection. */
export function elsewhere(view: View): Partial<Place> {
  return { ...NOWHERE, collection: place.peek().collection, view };
}
