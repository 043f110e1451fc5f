"""Drawing: style and layout of figures, series of methods, images of cases, and files of figures."""
