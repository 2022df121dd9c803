// Parts of the console that are loaded when they are first shown, so that the first records wait for less.

import { signal } from "@preact/signals";
import type { ComponentType, FunctionComponent } from "preact";
import { useEffect } from "preact/hooks";

/** A component that is loaded when it is first shown. If that fails, it says so and can be tried again. */
export function lazy<P extends object>(load: () => Promise<ComponentType<P>>): FunctionComponent<P> {
  const state = signal<"unknown" | "loading" | "failed" | { part: ComponentType<P> }>("unknown");
  const start = () => {
    state.value = "loading";
    load().then(
      (part) => (state.value = { part }),
      () => (state.value = "failed"),
    );
  };
  return function Lazy(props: P) {
    useEffect(() => {
      if (state.peek() === "unknown" || state.peek() === "failed") start();
    }, []);
    const current = state.value;
    if (typeof current === "object") return <current.part {...props} />;
    return current === "failed" ? <NotLoaded onRetry={start} /> : null;
  };
}

/** A part that could not be loaded: the service cannot be reached, or has other files since it was updated. */
function NotLoaded({ onRetry }: { onRetry: () => void }) {
  return (
    <div class="problem" role="alert">
      <p>This part of the console could not be loaded. Check the connection; after an update of the service, reload the page.</p>
      <button type="button" onClick={onRetry}>
        Try again
      </button>{" "}
      <button type="button" onClick={() => location.reload()}>
        Reload
      </button>
    </div>
  );
}
