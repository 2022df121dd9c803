// Why a filter matches a record or not: each of its tests with its result and the value of the record.

import { useEffect, useState } from "preact/hooks";
import { json } from "../api/client";
import type { FilterMatch, RecordType, Tested, Verdict } from "../api/document";
import { go } from "../place";
import { applied } from "../query/state";
import { label, pathOf } from "../schema";
import type { Value } from "../schema";
import { useLater, useLoaded } from "../ui/loading";
import { ProblemNote } from "../ui/problem";
import { Shown } from "./facts";
import { writes } from "../results/state";

const VERDICTS: Record<Verdict, [symbol: string, text: string]> = {
  true: ["✓", "true"],
  false: ["✗", "false"],
  unknown: ["?", "unknown"],
};

/** Where the filter that was tried is kept for a reload. */
const TRIED = "cinequery.match";

interface Tried {
  /** The search for which it was tried: a new search begins with its own filter. */
  key: string | undefined;
  filter: string;
}

function tried(key: string | undefined): string | undefined {
  try {
    const known = JSON.parse(sessionStorage.getItem(TRIED) ?? "null") as Tried | null;
    return known?.key === key && typeof known?.filter === "string" ? known.filter : undefined;
  } catch {
    return undefined;
  }
}

interface MatchProps {
  type: RecordType;
  id: string;
  /** Called with whether the filter matches the record. */
  onTested: (isMatch: boolean) => void;
}

export function Match({ type, id, onTested }: MatchProps) {
  const search = applied.value;
  const current = search?.filter ?? "";
  const [filter, setFilter] = useState(() => tried(search?.key) ?? current);
  const tested = useLater(filter.trim());
  useEffect(() => setFilter(tried(search?.key) ?? current), [search?.key]);
  const path = pathOf(type, `/${encodeURIComponent(id)}/match`);
  const result = useLoaded(tested ? `${id} ${writes.value} ${tested}` : undefined, async (signal) => ({
    filter: tested,
    match: await json<FilterMatch>(path, { query: { filter: tested, position_encoding: "utf-16" }, signal }),
  }));
  const isMatch = !tested || !result.value || result.value.match.verdict === "true";
  useEffect(() => onTested(isMatch), [isMatch]);
  const set = (text: string) => {
    setFilter(text);
    sessionStorage.setItem(TRIED, JSON.stringify({ key: search?.key, filter: text } satisfies Tried));
  };
  return (
    <div class="match">
      <label>
        Filter
        <textarea
          class="code"
          rows={3}
          spellcheck={false}
          autocapitalize="off"
          value={filter}
          onInput={(event) => set(event.currentTarget.value)}
        />
      </label>
      {filter !== current && (
        <div class="actions">
          <button type="button" onClick={() => set(current)}>
            Filter of the search
          </button>
          <button type="button" disabled={!filter.trim()} onClick={() => go({ filter: filter.trim(), parameters: {} })}>
            Search with this filter
          </button>
        </div>
      )}
      {!tested && <p class="quiet">Without a filter, every record matches.</p>}
      {tested && <ProblemNote failure={result.failure} />}
      {tested && !result.failure && result.value && (
        <Result type={type} filter={result.value.filter} match={result.value.match} isOld={result.loading} />
      )}
      {tested && !result.value && result.loading && <p class="quiet">Loading …</p>}
    </div>
  );
}

const HEADLINES: Record<Verdict, string> = {
  true: "The filter matches this record.",
  false: "The filter does not match this record.",
  unknown: "The filter does not match this record: a missing value leaves it undecided.",
};

interface ResultProps {
  type: RecordType;
  filter: string;
  match: FilterMatch;
  /** Whether another filter is being tested. */
  isOld: boolean;
}

function Result({ type, filter, match, isOld }: ResultProps) {
  return (
    <div aria-busy={isOld}>
      <p class={`verdict ${match.verdict}`} role="status">
        <span aria-hidden="true">{VERDICTS[match.verdict][0]}</span> {HEADLINES[match.verdict]}
      </p>
      <pre class="filter">
        {partsOf(filter, match.tests).map(({ text, test }, index) =>
          test ? (
            <mark key={index} class={test.verdict} title={`${VERDICTS[test.verdict][1]}; ${label(test.field)}: ${test.value}`}>
              <span aria-hidden="true">{VERDICTS[test.verdict][0]}</span>
              {text}
            </mark>
          ) : (
            text
          ),
        )}
      </pre>
      <table class="tests">
        <thead>
          <tr>
            <th scope="col">Test</th>
            <th scope="col">Value of the record</th>
            <th scope="col">Result</th>
          </tr>
        </thead>
        <tbody>
          {match.tests.map((test) => (
            <tr key={test.start}>
              <td class="code">{test.test}</td>
              <td>
                <Shown field={type.fields.find(({ name }) => name === test.field)} value={test.value as Value} />
              </td>
              <td class={test.verdict}>
                <span aria-hidden="true">{VERDICTS[test.verdict][0]}</span> {VERDICTS[test.verdict][1]}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {match.warnings.map(({ start, message, help }) => (
        <p class="warning" key={start}>
          {[message, help].filter(Boolean).join("; ")}
        </p>
      ))}
    </div>
  );
}

/** The filter as a sequence of tests and what is between them. */
function partsOf(filter: string, tests: Tested[]): { text: string; test?: Tested }[] {
  const parts: { text: string; test?: Tested }[] = [];
  let end = 0;
  for (const test of tests) {
    if (test.start < end) continue;
    parts.push({ text: filter.slice(end, test.start) }, { text: filter.slice(test.start, test.end), test });
    end = test.end;
  }
  return [...parts, { text: filter.slice(end) }];
}
