// Edits of a filter as text, by the positions of its syntax tree. Positions are those of `position_encoding=utf-16`.

import type { ExpressionNode, FieldType, SyntaxTree } from "../api/document";
import type { Value } from "../schema";

/** A value as a literal of the language. */
export function literal(type: FieldType, value: Value): string {
  if (value === null) return "null";
  if (type === "text" || type === "id") return quoted(String(value));
  return String(value);
}

/** A text as a literal, with the quotes that need no escape if there are such. */
export function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  return quote + text.replace(/\\/g, "\\\\").replaceAll(quote, `\\${quote}`) + quote;
}

/** The conditions that all have to hold: the terms of the outermost `and`, or the whole filter. */
function conditions(tree: SyntaxTree): ExpressionNode[] {
  const root = tree.filter;
  if (!root) return [];
  return root.type === "and" ? (root.terms ?? []) : [root];
}

/** Whether a condition is about one field only. A function of the field, as in `year(day)`, does not matter. */
function isAbout(condition: ExpressionNode, field: string): boolean {
  if (condition.type !== "predicate") return (condition.terms ?? []).every((term) => isAbout(term, field));
  const others = (condition.operands ?? []).filter(({ type, name }) => type === "field" && name !== field);
  return condition.subject?.type === "field" && condition.subject.name === field && others.length === 0;
}

/** The conditions about a field, which `withoutField` removes. */
export function conditionsAbout(tree: SyntaxTree, field: string): ExpressionNode[] {
  return conditions(tree).filter((condition) => isAbout(condition, field));
}

/** The texts of the conditions about a field. */
export function conditionsOn(filter: string, tree: SyntaxTree, field: string): string[] {
  return conditionsAbout(tree, field).map(({ start, end }) => filter.slice(start, end));
}

/** Adds a condition in the place of those about the same field. */
export function withCondition(filter: string, tree: SyntaxTree, condition: string, field: string): string {
  const kept = withoutField(filter, tree, field);
  if (!kept) return condition;
  const isAlternative = kept === filter.trim() && tree.filter?.type === "or";
  return isAlternative ? `(${kept}) and ${condition}` : `${kept} and ${condition}`;
}

/** Removes the conditions about a field. */
export function withoutField(filter: string, tree: SyntaxTree, field: string): string {
  return without(filter, tree, (node) => isAbout(node, field));
}

/** Removes a condition, or puts another in its place. `index` is its position among `conditions`. */
export function amended(filter: string, tree: SyntaxTree, index: number, instead?: string): string {
  const target = conditions(tree)[index];
  if (!target) return filter;
  if (instead === undefined) return without(filter, tree, (node) => node === target);
  // The parentheses of an alternative are part of it.
  const text = target.type === "or" && tree.filter !== target ? `(${instead})` : instead;
  return filter.slice(0, target.start) + text + filter.slice(target.end);
}

function without(filter: string, tree: SyntaxTree, isDropped: (node: ExpressionNode) => boolean): string {
  const all = conditions(tree);
  const kept = all.filter((node) => !isDropped(node));
  if (kept.length === all.length) return filter.trim();
  return kept.map(({ start, end }) => filter.slice(start, end)).join(" and ");
}

/** Puts values in the places of `$parameters`. Returns the names without a value instead if there are such. */
export function bind(filter: string, tree: SyntaxTree, literals: Map<string, string>): { filter: string } | { missing: string[] } {
  const places: { start: number; end: number; name: string }[] = [];
  const visit = (node: ExpressionNode | undefined): void => {
    for (const operand of [node?.subject, ...(node?.operands ?? [])]) {
      if (operand?.type === "parameter" && operand.name) places.push({ ...operand, name: operand.name });
    }
    for (const term of node?.terms ?? []) visit(term);
  };
  visit(tree.filter);
  const missing = [...new Set(places.map(({ name }) => name))].filter((name) => !literals.get(name));
  if (missing.length > 0) return { missing };
  let bound = filter;
  for (const { start, end, name } of places.toSorted((a, b) => b.start - a.start)) {
    bound = bound.slice(0, start) + literals.get(name) + bound.slice(end);
  }
  return { filter: bound };
}
