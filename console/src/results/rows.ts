// The rows of a search, page by page. Pages far from the visible rows are forgotten and loaded again by their cursors, so
// the memory does not grow with the number of rows that were scrolled past.

import { signal } from "@preact/signals";
import type { Failure } from "../api/client";
import { json } from "../api/client";
import type { MoviePage } from "../api/document";
import type { Applied } from "../query/state";
import type { Item } from "../schema";
import { failureFrom } from "../ui/loading";

type Reasons = NonNullable<MoviePage["why"]>;

/** A page of records of any collection. */
type Page = Omit<MoviePage, "items"> & { items: Item[] };

/** The number of rows of a page. */
export const PAGE = 200;
/** The number of pages in memory. */
const MAX_PAGES = 12;

/** The rows of one search. A new search has a new object. */
export class Rows {
  /** Changes whenever rows, the total or a failure do. */
  readonly changes = signal(0);
  total: number | undefined;
  failure: Failure | undefined;
  /** Why no record matches. */
  why: Reasons = [];
  /** The number of rows up to the end of the last page that was seen. */
  known = 0;
  isComplete = false;
  loading = false;
  private readonly cursors: (string | undefined)[] = [undefined];
  private readonly pages = new Map<number, Item[]>();
  /** Whether the rows are those of an earlier object, until the first page arrives. So the table does not jump. */
  private isStale = false;
  /** Whether they are those of another search, which cannot be used. */
  isOther = false;
  private readonly abort = new AbortController();
  private wanted: [number, number] = [0, 0];

  /** The time of the search, to which relative dates refer. */
  readonly now = new Date();

  constructor(
    readonly search: Applied,
    before?: Rows,
  ) {
    if (before?.search.collection === search.collection) {
      this.isStale = true;
      this.isOther = before.isOther || before.search.key !== search.key;
      this.pages = new Map(before.pages);
      this.known = before.known;
      if (!this.isOther) this.total = before.total;
    }
    this.show(0, 1);
    this.count();
  }

  /** Ends the requests of this search. */
  close(): void {
    this.abort.abort();
  }

  at(index: number): Item | undefined {
    return this.pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  }

  /** The records in memory. */
  *loaded(): Generator<Item> {
    for (const page of this.pages.values()) yield* page;
  }

  /** Loads the rows from `first` to before `last`, as far as they are missing. */
  show(first: number, last: number): void {
    this.wanted = [Math.floor(first / PAGE), Math.floor(Math.max(first, last - 1) / PAGE)];
    // After a failure the user decides; otherwise a service that is down would get requests without a pause.
    if (!this.loading && !this.failure) void this.load();
  }

  private missingPage(): number | undefined {
    if (this.isStale) return 0;
    const [from, to] = this.wanted;
    for (let page = from; page <= to; page++) {
      const isReachable = page < this.cursors.length;
      if (isReachable && !this.pages.has(page)) return page;
    }
    return undefined;
  }

  private async load(): Promise<void> {
    this.loading = true;
    try {
      for (let page = this.missingPage(); page !== undefined; page = this.missingPage()) await this.loadPage(page);
    } catch (error) {
      if (this.abort.signal.aborted) return;
      this.failure = failureFrom(error);
      if (this.isOther) this.clear();
    } finally {
      this.loading = false;
      this.changes.value++;
    }
  }

  /** Forgets the rows of an earlier object. */
  private clear(): void {
    this.isStale = this.isOther = false;
    this.pages.clear();
    this.known = 0;
  }

  private async loadPage(page: number): Promise<void> {
    const { collection, filter, orderBy } = this.search;
    const query = { filter, order_by: orderBy, limit: PAGE, cursor: this.cursors[page], why: page === 0 };
    const found = await json<Page>(`api/v1/${collection}`, { query, signal: this.abort.signal });
    if (this.isStale) this.clear();
    this.pages.set(page, found.items);
    if (page === 0) this.why = found.why ?? [];
    if (found.next_cursor) this.cursors[page + 1] = found.next_cursor;
    this.isComplete ||= !found.next_cursor;
    this.known = Math.max(this.known, page * PAGE + found.items.length);
    this.forget();
    this.changes.value++;
  }

  /** Forgets the pages that are farthest from the wanted ones. */
  private forget(): void {
    const [from, to] = this.wanted;
    const middle = (from + to) / 2;
    const far = [...this.pages.keys()].toSorted((a, b) => Math.abs(b - middle) - Math.abs(a - middle));
    for (const page of far.slice(0, Math.max(0, this.pages.size - MAX_PAGES))) this.pages.delete(page);
  }

  /** Counts apart from the first page, which must not wait for it. */
  private async count(): Promise<void> {
    const { collection, filter } = this.search;
    try {
      const query = { filter, limit: 1, count: "exact" };
      const { total } = await json<Page>(`api/v1/${collection}`, { query, signal: this.abort.signal });
      this.total = total;
      this.changes.value++;
    } catch {
      // The first page reports the problem. A total that takes too long is left out.
    }
  }

  /** Replaces a record that was changed here. */
  replace(item: Item): void {
    for (const page of this.pages.values()) {
      const index = page.findIndex(({ id }) => id === item.id);
      if (index >= 0) page[index] = item;
    }
    this.changes.value++;
  }
}
