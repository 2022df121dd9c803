// Days as numbers, counted from 1970-01-01, and the units of the calendar. Everything is in UTC, as in the service.

const DAY = 24 * 60 * 60 * 1000;

/** The day of a date or a timestamp. */
export function dayOf(text: string): number {
  return Math.floor(Date.parse(text) / DAY);
}

/** A day as a literal of the filter language. */
export function textOf(day: number): string {
  return new Date(day * DAY).toISOString().slice(0, 10);
}

export function today(): number {
  return Math.floor(Date.now() / DAY);
}

/** The units of a histogram, the finest first, in months. Days and weeks have none. */
export const UNITS = { day: 0, week: 0, month: 1, quarter: 3, year: 12, decade: 120, century: 1200 } as const;
export type Unit = keyof typeof UNITS;

/** The number of months from the year 0 to the month of a day. */
function monthOf(day: number): number {
  const date = new Date(day * DAY);
  return 12 * date.getUTCFullYear() + date.getUTCMonth();
}

function firstDayOf(month: number): number {
  const date = new Date(0);
  date.setUTCFullYear(Math.floor(month / 12), month - 12 * Math.floor(month / 12), 1);
  return date.getTime() / DAY;
}

/** The first day of the unit of a day, or of one that comes `later` units after it. */
export function startOf(unit: Unit, day: number, later = 0): number {
  const months = UNITS[unit];
  if (unit === "day") return day + later;
  // Weeks start on Monday; day 0 was a Thursday.
  if (unit === "week") return 7 * (Math.floor((day + 3) / 7) + later) - 3;
  return firstDayOf((Math.floor(monthOf(day) / months) + later) * months);
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** A unit for people, by its first day. */
export function nameOf(unit: Unit, day: number): string {
  const [year = "", month, dayOfMonth] = textOf(day).split("-");
  const name = `${MONTHS[Number(month) - 1]} ${year}`;
  if (unit === "month") return name;
  if (unit === "day") return `${Number(dayOfMonth)} ${name}`;
  if (unit === "week") return `Week of ${Number(dayOfMonth)} ${name}`;
  if (unit === "quarter") return `Q${1 + (monthOf(day) % 12) / 3} ${year}`;
  return unit === "year" ? year : `${year}s`;
}
