import { defineConfig } from "vite";

// The service puts a hash of the content into the names of the files (src/http/page.rs), so the names here are fixed. The
// page is one script and one style sheet: everything is needed soon, and one response is compressed better than several.
export default defineConfig({
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "dist",
    emptyOutDir: true,
    target: "es2023",
    modulePreload: false,
    // The size that counts is that of the compressed page, which a test bounds.
    chunkSizeWarningLimit: 1000,
    cssCodeSplit: false,
    license: { fileName: "licenses.txt" },
    rolldownOptions: {
      output: {
        entryFileNames: "console/console.js",
        assetFileNames: "console/console.[ext]",
        codeSplitting: false,
      },
    },
  },
  // `npm run dev` shows the sources with the records of `make run`.
  server: { proxy: { "/api": process.env["CINEQUERY_URL"] ?? "http://127.0.0.1:8080" } },
});
