// Lists that the service returns page by page.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Failure } from "../api/client";
import { failureFrom } from "../ui/loading";

export interface PageOf<T> {
  items: T[];
  /** Where the next page starts; absent on the last page. */
  next: string | undefined;
}

export interface Pages<T> {
  /** `undefined` until the first page is loaded. */
  items: T[] | undefined;
  failure: Failure | undefined;
  loading: boolean;
  hasMore: boolean;
  /** Loads the next page. */
  more(): void;
  /** Loads all pages again that are shown. */
  reload(): void;
}

/** Loads the first page of a list, and the next ones on request. */
export function usePages<T>(load: (after: string | undefined, signal: AbortSignal) => Promise<PageOf<T>>): Pages<T> {
  const [state, setState] = useState<{ items?: T[]; next?: string | undefined; failure?: Failure; loading: boolean }>({ loading: true });
  const abort = useRef<AbortController>(undefined);

  /** Loads pages after `start` until there are `wanted` items. */
  const fetchPages = async (start: T[], after: string | undefined, wanted: number) => {
    abort.current?.abort();
    const controller = new AbortController();
    abort.current = controller;
    setState((before) => ({ ...before, loading: true }));
    try {
      let items = start;
      let next = after;
      do {
        const page = await load(next, controller.signal);
        items = [...items, ...page.items];
        next = page.next;
      } while (next !== undefined && items.length < wanted);
      setState({ items, next, loading: false });
    } catch (error) {
      if (!controller.signal.aborted) setState((before) => ({ ...before, failure: failureFrom(error), loading: false }));
    }
  };
  useEffect(() => {
    void fetchPages([], undefined, 1);
    return () => abort.current?.abort();
  }, []);
  return {
    items: state.items,
    failure: state.failure,
    loading: state.loading,
    hasMore: state.next !== undefined,
    more: () => void fetchPages(state.items ?? [], state.next, (state.items?.length ?? 0) + 1),
    reload: () => void fetchPages([], undefined, Math.max(1, state.items?.length ?? 1)),
  };
}
