// Parts of the console that are loaded when they are first shown, so that the first records wait for less.

import { signal } from "@preact/signals";
import type { ComponentType, FunctionComponent } from "preact";
import { useEffect } from "preact/hooks";

/** A component that is loaded when it is first shown. If that fails, the `Boundary` around it says so. */
export function lazy<P extends object>(load: () => Promise<ComponentType<P>>): FunctionComponent<P> {
  const loaded = signal<{ part?: ComponentType<P>; failure?: Error }>({});
  let isLoading = false;
  return function Lazy(props: P) {
    useEffect(() => {
      if (isLoading) return;
      isLoading = true;
      load().then(
        (part) => (loaded.value = { part }),
        () => (loaded.value = { failure: new Error("it could not be loaded. The service may have a new version") }),
      );
    }, []);
    const { part: Part, failure } = loaded.value;
    if (failure) throw failure;
    return Part ? <Part {...props} /> : null;
  };
}
