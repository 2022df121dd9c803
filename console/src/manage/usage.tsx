// The requests by user and day, and the rate limit of the caller.

import { useMemo } from "preact/hooks";
import { go, place } from "../place";
import { count } from "../schema";
import { allows } from "../session";
import { useLoaded } from "../ui/loading";
import { ProblemNote } from "../ui/problem";
import { Chart } from "./measured/chart";
import { CLASSES, DAYS, NAMES, lastDays, loadUsage, numbersOf, sums, total } from "./measured/counts";
import type { Counted, Numbers, RateLimit } from "./measured/counts";
import "./manage.css";

/** The users that are listed at most, those with the most requests. */
const MAX_USERS = 50;

export function Usage() {
  const isAdmin = allows("admin");
  const { value, failure, loading, reload } = useLoaded(isAdmin ? "*" : "own", (signal) => loadUsage(isAdmin ? "*" : "", signal));
  return (
    <div class="manage">
      <div class="heading">
        <h1>{isAdmin ? "Usage" : "Your usage"}</h1>
        <button type="button" disabled={loading} onClick={reload}>
          Refresh
        </button>
      </div>
      <p class="quiet">Requests of the last {DAYS} days, by day in UTC.</p>
      <ProblemNote failure={failure} />
      {!value && loading && <p class="quiet">Loading …</p>}
      {value && <Content counted={value} isAdmin={isAdmin} />}
    </div>
  );
}

function Content({ counted, isAdmin }: { counted: Counted; isAdmin: boolean }) {
  const subject = isAdmin ? place.value.record : "";
  const shown = subject ? counted.rows.filter((row) => row.subject === subject) : counted.rows;
  const days = useMemo(() => lastDays(), [counted]);
  const byDay = useMemo(() => sums(shown, ({ day }) => day), [counted, subject]);
  const users = useMemo(() => mostActive(counted), [counted]);
  return (
    <>
      {isAdmin && (
        <div class="choice">
          <label for="usage-user">User</label>
          <select id="usage-user" value={subject} onChange={(event) => go({ record: event.currentTarget.value }, { replace: true })}>
            <option value="">all users</option>
            {/* A user of a link may have had no request. */}
            {[...new Set([...users.map(([name]) => name), ...(subject ? [subject] : [])])].map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </div>
      )}
      {counted.isCut && <p class="warning">There are more counts than this page loads: the latest days are not complete.</p>}
      <Chart days={days} counts={byDay} />
      <Limit limit={counted.limit} />
      {isAdmin && !subject && <UserTable users={users} />}
      <DayTable days={days} counts={byDay} />
    </>
  );
}

function mostActive({ rows }: Counted): [string, Numbers][] {
  return [...sums(rows, ({ subject }) => subject)].toSorted(([, a], [, b]) => total(b) - total(a));
}

/** The rate limit in words. */
function Limit({ limit }: { limit: RateLimit | undefined }) {
  if (!limit) return <p>The service sets no rate limit for you.</p>;
  const { name, quota, window, remaining, reset } = limit;
  const during = window === 60 ? "a minute" : window === 1 ? "a second" : `in ${count(window)} seconds`;
  return (
    <p>
      Your rate limit is that of the role {name}: <b>{count(quota)} requests {during}</b> for all your tokens together. {count(remaining)}{" "}
      {remaining === 1 ? "is" : "are"} left now, and all again in {count(reset)} {reset === 1 ? "second" : "seconds"}.
    </p>
  );
}

function HeadCells() {
  return CLASSES.map((name) => (
    <th key={name} scope="col" class="number">
      {NAMES[name]}
    </th>
  ));
}

function NumberCells({ numbers }: { numbers: Numbers }) {
  return CLASSES.map((name) => (
    <td key={name} class={name === "throttled" && numbers[name] > 0 ? "number over" : "number"}>
      {numbers[name] === 0 ? <span class="quiet">0</span> : count(numbers[name])}
    </td>
  ));
}

function UserTable({ users }: { users: [string, Numbers][] }) {
  return (
    <section aria-labelledby="usage-users">
      <h2 id="usage-users">By user</h2>
      <div class="scroll" role="group" aria-labelledby="usage-users" tabIndex={0}>
        <table class="list">
          <thead>
            <tr>
              <th scope="col">User</th>
              <HeadCells />
            </tr>
          </thead>
          <tbody>
            {users.slice(0, MAX_USERS).map(([name, numbers]) => (
              <tr key={name}>
                <th scope="row">
                  <button type="button" class="link" onClick={() => go({ record: name }, { replace: true })}>
                    {name}
                  </button>
                </th>
                <NumberCells numbers={numbers} />
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {users.length > MAX_USERS && <p class="quiet">The {MAX_USERS} users with the most requests of {count(users.length)}.</p>}
    </section>
  );
}

function DayTable({ days, counts }: { days: string[]; counts: Map<string, Numbers> }) {
  return (
    <section aria-labelledby="usage-days">
      <h2 id="usage-days">By day</h2>
      <div class="scroll bounded" role="group" aria-labelledby="usage-days" tabIndex={0}>
        <table class="list">
          <thead>
            <tr>
              <th scope="col">Day</th>
              <HeadCells />
            </tr>
          </thead>
          <tbody>
            {days.toReversed().map((day) => (
              <tr key={day}>
                <th scope="row" class="day">
                  {day}
                </th>
                <NumberCells numbers={numbersOf(counts, day)} />
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
