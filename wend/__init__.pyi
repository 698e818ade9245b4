from wend.datasets.catalog import DataSets as DataSets
from wend.datasets.catalog import register_records as register_records
from wend.errors import InputError as InputError
from wend.evaluation.arrays import wsol_scores as evaluate  # noqa: F401
from wend.evaluation.comparison import compare_methods as compare_methods
from wend.evaluation.detections import load_detections as load_detections
from wend.evaluation.wsol_metric import WSOLMetric as WSOLMetric
from wend.inference.detections import Detections as Detections
from wend.inference.detector import Detector as Detector
from wend.inference.export import export as export
from wend.inference.load import load as load
from wend.label_files import write as write_labels  # noqa: F401
from wend.pseudo_boxes import read_boxes as read_boxes
from wend.reports.draw import draw_boxes as draw_boxes
from wend.reports.draw import draw_detections as draw_detections
from wend.structures.box_table import BoxTable as BoxTable
from wend.structures.data_set import DataSet as DataSet
from wend.structures.records import ImageRecord as ImageRecord

PUBLIC: dict[str, str]
__all__: list[str]
__version__: str
