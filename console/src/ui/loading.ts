// Values that are loaded from the service.

import { useEffect, useRef, useState } from "preact/hooks";
import { Failure } from "../api/client";

export interface Loaded<T> {
  /** The value of the last load that succeeded; kept while the next one runs. */
  value?: T;
  failure?: Failure;
  loading: boolean;
  reload(): void;
}

/** Any error as a `Failure`, so that it can be shown. */
export function failureFrom(error: unknown): Failure {
  if (error instanceof Failure) return error;
  return new Failure({ detail: error instanceof Error ? error.message : String(error) });
}

function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

/** Loads a value, and again whenever `key` changes. The load before is cancelled. Nothing is loaded if `key` is `undefined`. */
export function useLoaded<T>(key: string | undefined, load: (signal: AbortSignal) => Promise<T>): Loaded<T> {
  const [state, setState] = useState<{ value?: T; failure?: Failure; loading: boolean }>({ loading: true });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    if (key === undefined) return;
    const controller = new AbortController();
    setState((before) => ({ ...before, loading: true }));
    load(controller.signal).then(
      (value) => !controller.signal.aborted && setState({ value, loading: false }),
      (error: unknown) => {
        if (controller.signal.aborted || isAbort(error)) return;
        setState((before) => ({ ...before, failure: failureFrom(error), loading: false }));
      },
    );
    return () => controller.abort();
  }, [key, turn]);
  return { ...state, reload: () => setTurn((before) => before + 1) };
}

/** How long typing has to pause before something is loaded for it, in milliseconds. */
const PAUSE = 200;

/** A text once it has stopped changing. */
export function useLater(text: string): string {
  const [later, setLater] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setLater(text), PAUSE);
    return () => clearTimeout(timer);
  }, [text]);
  return later;
}

/** Runs an action of the user: `busy` while it runs, `failure` if it failed. */
export function useAction(): {
  busy: boolean;
  failure: Failure | undefined;
  run(action: () => Promise<void>): Promise<void>;
  clear(): void;
} {
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Failure | undefined>();
  const alive = useRef(true);
  useEffect(() => () => void (alive.current = false), []);
  return {
    busy,
    failure,
    clear: () => setFailure(undefined),
    async run(action) {
      setBusy(true);
      setFailure(undefined);
      try {
        await action();
      } catch (error) {
        if (alive.current && !isAbort(error)) setFailure(failureFrom(error));
      } finally {
        if (alive.current) setBusy(false);
      }
    },
  };
}
