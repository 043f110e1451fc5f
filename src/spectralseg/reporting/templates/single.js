"use strict";
// Snakemake's report shows copies of pages in frames or in its folder data/raw, where the link to the report has no target.
const folders = location.pathname.split("/");
const copied = folders[folders.indexOf("raw") - 1] === "data";
if (self !== top || location.protocol === "data:" || copied) {
  document.querySelector(".back").remove();
}
