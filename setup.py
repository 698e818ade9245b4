"""Which packages the distribution holds; all else of it is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=find_packages(include=["wend", "wend.*"]),
    package_data={"wend": ["py.typed", "*.pyi"]},
)
