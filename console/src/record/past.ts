import { distance } from "../schema";
import type { Value } from "../schema";

/** How long ago something was done. The clock of the browser can be behind that of the service: it is never in the future. */
export function ago(time: Value | undefined): string | undefined {
  const then = typeof time === "string" ? Date.parse(time) : NaN;
  return distance("timestamp", time, new Date(Math.max(Date.now(), Number.isNaN(then) ? 0 : then)));
}
