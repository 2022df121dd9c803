// The frame of a facet: its heading, what it is waiting for, and what went wrong. It loads when it comes into view.

import { useEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren, RefObject } from "preact";
import type { FieldSchema } from "../api/document";
import { conditionsOn } from "../query/clauses";
import { edit } from "../query/state";
import { label } from "../schema";
import { useLoaded } from "../ui/loading";
import type { Loaded } from "../ui/loading";
import { notifyProblem } from "../ui/notices";
import { ProblemNote } from "../ui/problem";
import { base, filterBeside } from "./base";
import type { Base } from "./base";

/** Counts of a field, which are loaded again when the filter beside its own conditions changes. */
export interface Counted<T> extends Loaded<T> {
  frame: RefObject<HTMLDivElement | null>;
}

/** Loads counts when their box is in view. `variant` tells apart different counts of a field. */
export function useCounts<T>(
  field: FieldSchema,
  variant: string,
  load: (collection: string, filter: string, abort: AbortSignal) => Promise<T>,
): Counted<T> {
  const frame = useRef<HTMLDivElement>(null);
  const [isVisible, setVisible] = useState(false);
  useEffect(() => {
    const element = frame.current;
    if (!element) return;
    const observer = new IntersectionObserver((entries) => setVisible(entries.at(-1)?.isIntersecting ?? false));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const current = base.value;
  const filter = current && filterBeside(current, field.name);
  const wanted = current && JSON.stringify([current.collection, filter, current.turn, variant]);
  const key = useRef<string | undefined>(undefined);
  if (isVisible) key.current = wanted;
  const loaded = useLoaded(key.current, (abort) => load(current?.collection ?? "", filter ?? "", abort));
  return { ...loaded, frame };
}

/** Changes the conditions on a field, as `edit` of the query does. */
export function change(field: FieldSchema, conditionFor: Parameters<typeof edit>[1]): void {
  edit(field.name, conditionFor).catch(notifyProblem);
}

/** Puts a condition in the place of those on a field, or removes them. */
export function select(field: FieldSchema, condition: string | undefined): void {
  change(field, () => condition);
}

/** The text of the conditions on a field; empty without one. */
export function conditionText({ filter, tree }: Base, field: FieldSchema): string {
  return conditionsOn(filter, tree, field.name).join(" and ");
}

interface BoxProps {
  field: FieldSchema;
  counted: Counted<unknown>;
  /** Controls beside the heading. */
  controls?: ComponentChildren;
  children: ComponentChildren;
}

export function Box({ field, counted, controls, children }: BoxProps) {
  const { frame, value, failure, loading, reload } = counted;
  const title = label(field.name);
  const condition = base.value && conditionText(base.value, field);
  const heading = useRef<HTMLHeadingElement>(null);
  return (
    <div ref={frame} role="group" class={value === undefined && loading ? "facet waiting" : "facet"} aria-label={`Facet ${title}`} aria-busy={loading}>
      <header>
        <h3 ref={heading} tabIndex={-1} title={field.description}>
          {title}
        </h3>
        {controls}
        {condition && (
          <button
            type="button"
            class="link"
            aria-label={`Clear ${title}`}
            title={`Remove from the filter: ${condition}`}
            onClick={() => {
              // The button is about to disappear.
              heading.current?.focus();
              select(field, undefined);
            }}
          >
            Clear
          </button>
        )}
      </header>
      <ProblemNote failure={failure}>
        <button type="button" onClick={reload}>
          Try again
        </button>
      </ProblemNote>
      {value === undefined && loading && <p class="quiet">Loading …</p>}
      {children}
    </div>
  );
}

interface ChoiceProps {
  children: ComponentChildren;
  /** The whole of a text that may be cut off. */
  title?: string;
  /** `undefined` if it is not known. */
  count: string | undefined;
  /** The length of the bar, from 0 to 1. */
  share: number;
  isPressed: boolean;
  onToggle: () => void;
}

/** A value or a range with the number of its records. */
export function Choice({ children, title, count, share, isPressed, onToggle }: ChoiceProps) {
  return (
    <li>
      <button type="button" class="choice" aria-pressed={isPressed} onClick={onToggle}>
        <span class="name" title={title}>
          {children}
        </span>
        <span class="count">{count}</span>
        <span class="bar" style={{ width: `${Math.max(100 * share, share > 0 ? 1 : 0)}%` }} />
      </button>
    </li>
  );
}
