// What a filter says about a field, and what a choice of values or a range is as a condition.

import type { ExpressionNode, FieldSchema, OperandNode, SyntaxTree } from "../api/document";
import { conditionsAbout, literal } from "../query/clauses";
import type { Value } from "../schema";
import { dayOf, textOf } from "./days";

/** The values that the filter selects; `undefined` if its conditions on the field are not a choice of values. */
export function chosenValues(tree: SyntaxTree, field: string): Value[] | undefined {
  const [condition, ...others] = conditionsAbout(tree, field);
  if (!condition) return [];
  return others.length === 0 ? valuesOf(condition) : undefined;
}

function valuesOf({ type, subject, operator, operands = [], terms = [] }: ExpressionNode): Value[] | undefined {
  if (type === "or") {
    const all = terms.map(valuesOf);
    return all.every((values) => values !== undefined) ? all.flat() : undefined;
  }
  const isBare = type === "not" && terms[0]?.type === "predicate" && !terms[0].operator && !terms[0].subject?.function;
  if (isBare) return [false];
  if (type !== "predicate" || subject?.function || operator?.negated) return undefined;
  if (!operator) return [true];
  if (operator.name === "is null") return [null];
  if (operator.name !== "=" && operator.name !== "in") return undefined;
  const values = operands.map(({ value }) => value as Value | undefined);
  return values.every((value) => value !== undefined) ? values : undefined;
}

/** The condition that selects values; none for no value. */
export function conditionOn({ name, type }: FieldSchema, values: Value[]): string | undefined {
  const [first, ...others] = values.filter((value) => value !== null).map((value) => literal(type, value));
  const listed = first && (others.length === 0 ? `${name} = ${first}` : `${name} in (${[first, ...others].join(", ")})`);
  if (!values.includes(null)) return listed;
  return listed ? `(${listed} or ${name} is null)` : `${name} is null`;
}

/** A range of integers or days, both ends included. Days are numbers, as in `days.ts`. */
export interface Range {
  from?: number | undefined;
  to?: number | undefined;
}

/** The range that the filter selects; `undefined` if its conditions on the field are not a range. */
export function chosenRange(tree: SyntaxTree, field: FieldSchema): Range | undefined {
  const range: Range = {};
  for (const { type, subject, operator, operands = [] } of conditionsAbout(tree, field.name)) {
    if (type !== "predicate" || subject?.function || !operator || operator.negated) return undefined;
    const [a, b] = operands.map((operand) => numberOf(field, operand));
    if (a === undefined) return undefined;
    // A time within a day counts as that day.
    const step = field.type === "timestamp" ? 0 : 1;
    switch (operator.name) {
      case "=":
        [range.from, range.to] = [a, a];
        break;
      case "between":
        if (b === undefined) return undefined;
        [range.from, range.to] = [a, b];
        break;
      case ">=":
        range.from = a;
        break;
      case ">":
        range.from = a + step;
        break;
      case "<=":
        range.to = a;
        break;
      case "<":
        range.to = endsAtMidnight(field, operands[0]) ? a - 1 : a - step;
        break;
      default:
        return undefined;
    }
  }
  return range;
}

function numberOf({ type }: FieldSchema, { value }: OperandNode): number | undefined {
  if (type === "integer") return typeof value === "number" ? value : undefined;
  return typeof value === "string" ? dayOf(value) : undefined;
}

function endsAtMidnight({ type }: FieldSchema, operand: OperandNode | undefined): boolean {
  return type === "timestamp" && typeof operand?.value === "string" && Date.parse(operand.value) % 86_400_000 === 0;
}

/** The condition that selects a range; none without an end. */
export function conditionIn({ name, type }: FieldSchema, { from, to }: Range): string | undefined {
  if (type === "timestamp") {
    const parts = [
      ...(from === undefined ? [] : [`${name} >= ${textOf(from)}T00:00:00Z`]),
      ...(to === undefined ? [] : [`${name} < ${textOf(to + 1)}T00:00:00Z`]),
    ];
    return parts.length > 0 ? parts.join(" and ") : undefined;
  }
  const text = (value: number) => (type === "date" ? textOf(value) : String(value));
  if (from === undefined) return to === undefined ? undefined : `${name} <= ${text(to)}`;
  if (to === undefined) return `${name} >= ${text(from)}`;
  return from === to ? `${name} = ${text(from)}` : `${name} between ${text(from)} and ${text(to)}`;
}
