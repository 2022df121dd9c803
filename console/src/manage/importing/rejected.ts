// The rejected rows as a file that can be corrected and imported again.

import type { ImportedFile, Violation } from "../../api/document";
import { grouped } from "../grouped";

/** The largest file whose rows are read again in the browser, in bytes. */
const MAX_READ = 64 * 1024 * 1024;

/** The rejected rows: those of CSV as they were with their problems, those of other files as a list of problems. */
export async function rejectedRows(
  file: File,
  how: ImportedFile | undefined,
  headerRow: string,
  errors: Violation[],
): Promise<Blob> {
  const isCsv = how?.format === "csv" || how?.format === "excel-csv";
  const text =
    isCsv && how.delimiter && file.size <= MAX_READ
      ? withProblems(linesOf(await decoded(file, how.encoding)), Number(headerRow), how.delimiter, errors)
      : listed(errors);
  // Excel takes a file without the mark for Windows-1252.
  return new Blob(["\ufeff", text], { type: "text/csv" });
}

async function decoded(file: File, encoding: ImportedFile["encoding"]): Promise<string> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const isBigEndian = bytes[0] === 0xfe && bytes[1] === 0xff;
  const name = encoding === "utf-16" ? (isBigEndian ? "utf-16be" : "utf-16le") : (encoding ?? "utf-8");
  return new TextDecoder(name).decode(bytes);
}

function linesOf(text: string): string[] {
  return text.split(/\r\n|\n|\r/);
}

/** The header and the rows of the errors, with two columns that an import ignores. */
function withProblems(lines: string[], headerRow: number, delimiter: string, errors: Violation[]): string {
  const byLine = grouped(errors, ({ line }) => line ?? 0);
  const isSeparator = /^sep=/i.test(lines[0] ?? "");
  const first = lines.findIndex((line, index) => line.trim() !== "" && !(isSeparator && index === 0));
  const rows = [[rowAt(lines, headerRow || first + 1), "rejected line", "rejected because"].join(delimiter)];
  for (const [line, problems] of byLine) {
    const because = problems.map(({ pointer, detail }) => `${pointer.replace(/^\//, "")} ${detail}`.trim()).join("; ");
    rows.push([rowAt(lines, line), String(line), quoted(because)].join(delimiter));
  }
  return `${rows.join("\r\n")}\r\n`;
}

/** The row that starts on a line, counted from 1. A cell in quotes may have line breaks. */
function rowAt(lines: string[], line: number): string {
  let row = lines[line - 1] ?? "";
  for (let next = line; (row.split('"').length - 1) % 2 === 1 && next < lines.length; next++) row += `\n${lines[next]}`;
  return row;
}

function listed(errors: Violation[]): string {
  const rows = errors.map(({ line, pointer, detail }) => [line ?? "", quoted(pointer.replace(/^\//, "")), quoted(detail)].join(","));
  return `${["line,field,problem", ...rows].join("\r\n")}\r\n`;
}

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}
