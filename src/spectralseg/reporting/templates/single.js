"use strict";
// Snakemake's report shows copies of pages in frames or in data/raw/, where the link to the report has no target.
if (self !== top || location.protocol === "data:" || location.pathname.includes("/data/raw/")) {
  document.querySelector(".back").remove();
}
