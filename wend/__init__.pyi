from wend.errors import InputError as InputError
from wend.inference.detections import Detections as Detections
from wend.inference.detector import Detector as Detector
from wend.inference.export import export as export
from wend.inference.load import load as load

PUBLIC: dict[str, str]
__version__: str
