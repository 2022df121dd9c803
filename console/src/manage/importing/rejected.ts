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
      ? withProblems(await decoded(file, how.encoding), Number(headerRow), how.delimiter, errors)
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

interface Row {
  /** The line on which the row starts, counted from 1. */
  line: number;
  /** The row as it is in the file, without its end. */
  text: string;
  /** The length of the first cell. */
  first: number;
}

/** The rows of CSV. A quote is special only at the start of a cell (RFC 4180), so that `6" nail` is a plain cell. */
function rowsOf(text: string, delimiter: string): Row[] {
  const rows: Row[] = [];
  let state: "start" | "plain" | "quoted" | "closed" = "start";
  let [line, begin, first] = [1, 0, -1];
  let start = line;
  for (let at = 0; at <= text.length; at++) {
    const char = text[at] ?? "\n";
    if (char === "\n") line++;
    if (state === "quoted" && at < text.length) {
      if (char === '"') state = "closed";
    } else if (char === '"' && state !== "plain") {
      state = "quoted";
    } else if (char === "\n" || char === "\r") {
      const row = text.slice(begin, at);
      rows.push({ line: start, text: row, first: first < 0 ? row.length : first });
      if (char === "\r" && text[at + 1] === "\n") (at++, line++);
      [state, begin, start, first] = ["start", at + 1, line, -1];
    } else {
      if (char === delimiter && first < 0) first = at - begin;
      state = char === delimiter ? "start" : "plain";
    }
  }
  return rows;
}

/** The name of the column with the problems, which an import ignores if it is the first one. */
const PROBLEM = "problem";

/** The header and the rows of the errors, after a column with their problems. */
function withProblems(text: string, headerRow: number, delimiter: string, errors: Violation[]): string {
  const rows = rowsOf(text, delimiter);
  const isSeparator = ({ line, text }: Row) => line === 1 && /^sep=/i.test(text);
  const isHeader = (row: Row) => (headerRow ? row.line === headerRow : row.text.trim() !== "" && !isSeparator(row));
  const header = rows.find(isHeader) ?? { line: 0, text: "", first: 0 };
  // A file of rejected rows that is rejected again has the column already.
  const hasColumn = header.text.slice(0, header.first) === PROBLEM;
  const cells = ({ text, first }: Row) => (hasColumn ? text.slice(first + 1) : text);
  const byLine = grouped(errors, ({ line }) => line ?? 0);
  const rejected = [...byLine].map(([line, problems]) => {
    const details = problems.map(({ pointer, detail }) => `${pointer.replace(/^\//, "")}: ${detail}`.replace(/^: /, ""));
    const row = rows.find((row) => row.line === line);
    return [quoted(`line ${line}: ${details.join("; ")}`), row ? cells(row) : ""].join(delimiter);
  });
  return `${[[PROBLEM, cells(header)].join(delimiter), ...rejected].join("\r\n")}\r\n`;
}

function listed(errors: Violation[]): string {
  const rows = errors.map(({ line, pointer, detail }) => [line ?? "", quoted(pointer.replace(/^\//, "")), quoted(detail)].join(","));
  return `${["line,field,problem", ...rows].join("\r\n")}\r\n`;
}

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}
