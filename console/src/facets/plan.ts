// The plans of SQLite and PostgreSQL in sentences. Steps that are not known here are shown as the database names them.

import { count } from "../schema";

export interface Step {
  /** How many steps contain it. */
  depth: number;
  /** What the database said. */
  text: string;
  sentence?: string;
  /**
   * `indexed` reads what it needs only; `ordered` reads in the order of an index and `scan` in any, both until the page
   * is full; `sort` needs all matches before the first one.
   */
  kind?: "indexed" | "ordered" | "scan" | "sort";
  /** The conditions and keys of the step. */
  details: string[];
}

type Sentence = Pick<Step, "sentence" | "kind">;
type Pattern = [RegExp, (...parts: string[]) => Sentence];

/** The columns in `(genre=? AND expiry_date>?)`, each once. */
function columns(terms: string): string {
  const names = terms.split(" AND ").map((term) => term.replace(/[<>=]+\?.*$/, "").trim());
  return [...new Set(names)].join(" and ");
}

const SQLITE: Pattern[] = [
  [/^SEARCH (\S+) USING (?:INTEGER )?PRIMARY KEY \((.*)\)/, (table) => ({ sentence: `Read records of ${table} by their id.`, kind: "indexed" })],
  [
    /^SEARCH \S+ USING COVERING INDEX (\S+) \((.*)\)/,
    (index, terms) => ({ sentence: `Find matches by ${columns(terms ?? "")} in the index ${index}, without reading the records.`, kind: "indexed" }),
  ],
  [
    /^SEARCH (\S+) USING INDEX (\S+) \((.*)\)/,
    (table, index, terms) => ({ sentence: `Find records of ${table} by ${columns(terms ?? "")} in the index ${index}.`, kind: "indexed" }),
  ],
  [/^SCAN (\S+) VIRTUAL TABLE INDEX/, (index) => ({ sentence: `Find texts by their sequences of three characters in the index ${index}.`, kind: "indexed" })],
  [/^SCAN (\S+) USING (?:COVERING )?INDEX (\S+)/, (table, index) => ({ sentence: `Read ${table} in the order of the index ${index}, until the page is full.`, kind: "ordered" })],
  [/^SCAN (\S+)$/, (table) => ({ sentence: `Read the records of ${table} one after the other, until the page is full.`, kind: "scan" })],
  [/^USE TEMP B-TREE FOR ORDER BY/, () => ({ sentence: "Sort all matches.", kind: "sort" })],
  [/^USE TEMP B-TREE FOR (?:LAST|RIGHT)/, () => ({ sentence: "Sort records that are equal in the first fields of the order." })],
  [/^USE TEMP B-TREE FOR DISTINCT/, () => ({ sentence: "Drop repeated records." })],
  [/^LIST SUBQUERY/, () => ({ sentence: "Their ids come from these steps:" })],
  [/^CREATE BLOOM FILTER/, () => ({ sentence: "Prepare a quick test of whether an id is one of them." })],
  [/^MULTI-INDEX OR/, () => ({ sentence: "Use an index for each alternative:" })],
  [/^INDEX (\d+)/, (number) => ({ sentence: `Alternative ${number}:` })],
  [/^(?:MATERIALIZE|CO-ROUTINE) (\S+)/, (name) => ({ sentence: `Compute ${name} first:` })],
];

const POSTGRES: Pattern[] = [
  [/^Limit/, () => ({ sentence: "Stop when the page is full." })],
  [/^Incremental Sort/, () => ({ sentence: "Sort records that are equal in the first fields of the order." })],
  [/^Sort/, () => ({ sentence: "Sort all matches.", kind: "sort" })],
  [/^(?:Parallel )?Seq Scan on (\S+)/, (table) => ({ sentence: `Read the records of ${table} one after the other.`, kind: "scan" })],
  [/^(?:Parallel )?Bitmap Heap Scan on (\S+)/, (table) => ({ sentence: `Read the records of ${table} that were found.`, kind: "indexed" })],
  [/^Bitmap Index Scan on (\S+)/, (index) => ({ sentence: `Find matches in the index ${index}.`, kind: "indexed" })],
  [/^BitmapOr/, () => ({ sentence: "Join the matches of several indexes." })],
  [/^BitmapAnd/, () => ({ sentence: "Keep what several indexes have in common." })],
  [/^(?:Parallel )?Index Only Scan(?: Backward)? using (\S+)/, (index) => ({ sentence: `Read the index ${index}, without the records.`, kind: "ordered" })],
  [/^(?:Parallel )?Index Scan(?: Backward)? using (\S+) on (\S+)/, (index, table) => ({ sentence: `Read records of ${table} in the order of the index ${index}.`, kind: "ordered" })],
  [/^Gather/, () => ({ sentence: "Collect the results of parallel workers." })],
  [/^(?:Hash|HashAggregate|Unique)\b/, () => ({ sentence: "Keep each of them once." })],
  [/^(?:Nested Loop|Hash (?:Semi )?Join|Merge Join)/, () => ({ sentence: "Combine both of these:" })],
  [/^Result$/, () => ({ sentence: "Return nothing: the conditions exclude each other." })],
];

function sentenceOf(patterns: Pattern[], text: string): Sentence {
  for (const [pattern, tell] of patterns) {
    const match = pattern.exec(text);
    if (match) return tell(...match.slice(1));
  }
  return {};
}

/** The steps of a plan, as the engine lists them. */
export function stepsOf(engine: string, lines: string[]): Step[] {
  return engine.startsWith("SQLite") ? sqliteSteps(lines) : postgresSteps(lines);
}

function sqliteSteps(lines: string[]): Step[] {
  const isPaged = lines.some((line) => line.startsWith("LIST SUBQUERY"));
  return lines.map((line) => {
    const text = line.trimStart();
    const depth = (line.length - text.length) / 2;
    const step = { depth, text, details: [] };
    // Outside of the subquery there are only the records of the page.
    if (isPaged && depth === 0 && text.startsWith("USE TEMP B-TREE")) return { ...step, sentence: "Sort the page." };
    return { ...step, ...sentenceOf(SQLITE, text) };
  });
}

/** Steps have a cost; the lines after one are its details. */
function postgresSteps(lines: string[]): Step[] {
  const steps: Step[] = [];
  const indents: number[] = [];
  for (const line of lines) {
    const match = /^(\s*)(?:->\s+)?(.+?)\s+\(cost=.*? rows=(\d+)/.exec(line);
    if (!match) {
      const step = steps.at(-1);
      step?.details.push(line.trim());
      if (step?.kind === "ordered" && line.includes("Index Cond:")) step.kind = "indexed";
      continue;
    }
    const [, space = "", text = "", rows = "0"] = match;
    while ((indents.at(-1) ?? -1) >= space.length) indents.pop();
    const { sentence, kind } = sentenceOf(POSTGRES, text);
    const about = `About ${count(Number(rows))} ${rows === "1" ? "record" : "records"}.`;
    steps.push({
      depth: indents.length,
      text,
      details: [],
      ...(sentence ? { sentence: `${sentence} ${about}` } : {}),
      ...(kind ? { kind } : {}),
    });
    indents.push(space.length);
  }
  return steps;
}

/** What makes a search slow when there are many records; `undefined` if nothing does. */
export function warningOf(steps: Step[], isFiltered: boolean): string | undefined {
  const has = (kind: Step["kind"]) => steps.some((step) => step.kind === kind);
  if (has("scan") && has("sort")) {
    return "This plan finds nothing by an index: every record is read, and all matches are sorted before the first one is shown.";
  }
  if (isFiltered && (has("scan") || has("ordered"))) {
    return "This plan finds nothing by an index: records are read one after the other until the page is full, which takes long if few of many match.";
  }
  return undefined;
}
