"""Contents of the artifacts on disk, in words and counts: tables, HDF5 files, outlines, folders."""

from pipelines.contents.contents import CAN_BE, Contents
from pipelines.contents.folders import folder_contents
from pipelines.contents.geojson import geojson_contents
from pipelines.contents.hdf5 import hdf5_contents
from pipelines.contents.tables import table_contents

__all__ = ["CAN_BE", "Contents", "folder_contents", "geojson_contents", "hdf5_contents", "table_contents"]
