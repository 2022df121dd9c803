// Short notices about what was done, with a way to undo it.

import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { failureFrom } from "./loading";

interface Notice {
  id: number;
  text: string;
  isProblem: boolean;
  undo: (() => Promise<void>) | undefined;
}

const notices = signal<Notice[]>([]);
let last = 0;

/** How long a notice stays, in milliseconds. One with an undo stays longer, so that it can be read and reached. */
const SHORT = 5_000;
const LONG = 30_000;
/** The number of notices on the screen. */
const MAX_NOTICES = 3;

function drop(id: number): void {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}

/** Shows a notice. `undo` takes back what it reports. */
export function notify(text: string, undo?: () => Promise<void>, isProblem = false): void {
  const id = ++last;
  notices.value = [...notices.value, { id, text, undo, isProblem }].slice(-MAX_NOTICES);
  setTimeout(() => drop(id), undo || isProblem ? LONG : SHORT);
}

/** Shows a failure for which a form has no place. */
export function notifyProblem(error: unknown): void {
  notify(failureFrom(error).message, undefined, true);
}

/** The places for notices, the topmost last. The page below a modal dialog is inert, so a dialog is such a place. */
const hosts = signal<object[]>([]);

export function Notices() {
  const [host] = useState({});
  useEffect(() => {
    hosts.value = [...hosts.peek(), host];
    return () => void (hosts.value = hosts.peek().filter((other) => other !== host));
  }, []);
  if (hosts.value.at(-1) !== host) return null;
  return (
    <div class="notices" role="status" aria-live="polite">
      {notices.value.map(({ id, text, undo, isProblem }) => (
        <div key={id} class={isProblem ? "notice problem" : "notice"}>
          <span>{text}</span>
          {undo && (
            <button
              type="button"
              onClick={() => {
                drop(id);
                undo().catch(notifyProblem);
              }}
            >
              Undo
            </button>
          )}
          <button type="button" class="icon" aria-label="Dismiss" onClick={() => drop(id)}>
            ✕
          </button>
        </div>
      ))}
    </div>
  );
}
